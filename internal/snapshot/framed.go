package snapshot

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// The packing child writes the archive in frames, each after its length as four big-endian bytes. A frame of no bytes ends the
// archive; the report follows it, as JSON. So a child that dies is never taken for one that was done.
const maxReport = 1 << 20 // bytes

// frames writes each Write as one frame.
type frames struct{ w io.Writer }

func (f frames) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil // it would end the archive
	}
	if _, err := f.w.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p)))); err != nil {
		return 0, err
	}
	return f.w.Write(p)
}

// finish ends the archive and adds the report.
func (f frames) finish(report Report) error {
	if _, err := f.w.Write(make([]byte, 4)); err != nil {
		return err
	}
	return json.NewEncoder(f.w).Encode(report)
}

// framed reads the archive out of the frames. It yields io.EOF only after the report is in and r has ended with io.EOF itself.
type framed struct {
	r      io.Reader
	left   uint32 // of the current frame
	report Report
	ended  bool
	err    error // the first that is not io.EOF
}

func (f *framed) Read(p []byte) (int, error) {
	if f.ended {
		return 0, io.EOF
	}
	if f.err == nil {
		var n int
		if n, f.err = f.read(p); f.err == nil || n > 0 {
			return n, nil
		}
	}
	if errors.Is(f.err, io.EOF) {
		f.err, f.ended = nil, true
		return 0, io.EOF
	}
	return 0, f.err
}

func (f *framed) read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if f.left == 0 {
		var head [4]byte
		if _, err := io.ReadFull(f.r, head[:]); err != nil {
			return 0, early(err)
		}
		if f.left = binary.BigEndian.Uint32(head[:]); f.left == 0 {
			return 0, f.readReport()
		}
	}
	n, err := f.r.Read(p[:min(len(p), int(f.left))])
	f.left -= uint32(n)
	return n, early(err)
}

// readReport returns io.EOF if all is well.
func (f *framed) readReport() error {
	data, err := io.ReadAll(io.LimitReader(f.r, maxReport+1))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &f.report); err != nil {
		return fmt.Errorf("read the packing child's report: %w", err)
	}
	return io.EOF
}

// early makes an end in the middle an error.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
