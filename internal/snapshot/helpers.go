package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
)

// Helpers are the children that Tar needs; every program that uses Tar hands them to agentproc.Dispatch.
func Helpers() []agentproc.Helper {
	return []agentproc.Helper{
		{Name: packHelper, Run: runPack},
		{Name: unpackHelper, Run: runUnpack},
	}
}

// runPack writes frames of the archive to stdout; args are the limits, the root, and what to include.
func runPack(args []string, _ io.Reader, stdout io.Writer) error {
	limits, root, err := openRoot(args)
	if err != nil {
		return err
	}
	defer closeQuietly(root)
	out := frames{stdout}
	report, err := pack(root, args[2:], limits, out)
	if err != nil {
		return err
	}
	return out.finish(report)
}

// runUnpack reads the archive from stdin and says on stdout what came of it. A corrupt archive is no failure of the
// child: it is told there, so that nobody has to read the text of an error.
func runUnpack(args []string, stdin io.Reader, stdout io.Writer) error {
	limits, root, err := openRoot(args)
	if err != nil {
		return err
	}
	defer closeQuietly(root)
	done, err := unpack(root, limits, stdin)
	if errors.Is(err, ErrCorrupt) {
		done.Corrupt, err = printable(err.Error()), nil
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(done)
}

func openRoot(args []string) (limits, *os.Root, error) {
	var l limits
	if len(args) < 2 {
		return l, nil, errors.New("the helper needs its limits and a directory")
	}
	if err := json.Unmarshal([]byte(args[0]), &l); err != nil {
		return l, nil, fmt.Errorf("read the limits: %w", err)
	}
	root, err := os.OpenRoot(args[1])
	return l, root, err
}

// closeQuietly is for what was only read: nothing can be lost.
func closeQuietly(c io.Closer) { _ = c.Close() }
