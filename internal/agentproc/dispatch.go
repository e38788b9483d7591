package agentproc

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// What the worker's own binary is called when it is started again as something else.
const (
	supervisorName = "agentproc-supervisor"
	helperName     = "agentproc-helper"
)

// selfExe is this binary, also when the file has been replaced and for users who may not enter its folder.
const selfExe = "/proc/self/exe"

// Helper is a function of this program that runs in a process of its own under the agent's uid: for work on files
// that the agent could have made. An error that Run returns is printed to standard error and ends the process with status 1.
type Helper struct {
	Name string
	Run  func(args []string, stdin io.Reader, stdout io.Writer) error
}

// Dispatch must be the first call in main, and in TestMain of every package that starts agents. In a process that
// was started as a supervisor or as a helper it does that work and exits; in any other it returns at once.
func Dispatch(helpers ...Helper) {
	switch os.Args[0] {
	case supervisorName:
		syscall.Exit(supervise(os.Args[1:])) // not os.Exit, for which a binary built with -race takes a second
	case helperName:
		syscall.Exit(help(append(helpers, fileHelpers()...), os.Args[1:]))
	}
}

func help(helpers []Helper, args []string) (status int) {
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "no helper named")
		return 1
	}
	for _, h := range helpers {
		if h.Name != args[0] {
			continue
		}
		err := h.Run(args[1:], os.Stdin, os.Stdout)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return helperStatus(err)
	}
	fmt.Fprintf(os.Stderr, "no helper %q: is it given to agentproc.Dispatch?\n", args[0])
	return 1
}
