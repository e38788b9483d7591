// Command worker serves the HTTP API of one worker, runs one job, and exits. README.md lists its variables.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"syscall"

	"github.com/rs/zerolog"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/config"
	"github.com/ai-coding-worker/ai-coding-worker/internal/worker"
)

func main() {
	agentproc.Dispatch(worker.Helpers()...)
	ctx, hurry := signals()
	err := run(ctx, hurry, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

// signals ends ctx at the first SIGTERM or SIGINT and closes hurry at the second. Further ones change nothing: a job's work
// is being saved then, and what cannot wait for it has SIGKILL.
func signals() (ctx context.Context, hurry <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	second, sent := make(chan struct{}), make(chan os.Signal, 2)
	signal.Notify(sent, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-sent
		cancel()
		<-sent
		close(second)
	}()
	return ctx, second
}

// run is the whole program but for signals and the exit status.
func run(ctx context.Context, hurry <-chan struct{}, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	order, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) { // and was helped
		return nil
	}
	if err != nil {
		return err
	}
	if order.version {
		_, err := fmt.Fprintln(stdout, version())
		return err
	}
	cfg, err := config.Load(getenv)
	if err != nil {
		return err
	}
	if err := agentproc.DenyInspection(); err != nil {
		return fmt.Errorf("close this process to inspection: %w", err)
	}
	log := zerolog.New(stderr).Level(cfg.LogLevel).With().Timestamp().Logger()
	opts := worker.Options{
		Path: getenv("PATH"), Version: version(), Certificates: certificates(getenv), Hurry: hurry, Stuck: exitStuck(stderr, log), Log: log,
	}
	if order.test {
		err := worker.SelfTest(ctx, cfg, opts)
		if ctx.Err() != nil && order.serve {
			return nil // told to go before it came to anything, which is nobody's fault
		}
		if err != nil {
			return fmt.Errorf("self-test: %w", err)
		}
	}
	if !order.serve {
		return nil
	}
	return worker.Run(ctx, cfg, opts)
}

// exitStuck ends a process that does nothing any more, so that its supervisor starts another, and says where it stood.
func exitStuck(stderr io.Writer, log zerolog.Logger) func(error) {
	return func(err error) {
		log.Error().Err(err).Msg("this worker is stuck")
		_ = pprof.Lookup("goroutine").WriteTo(stderr, 1)
		os.Exit(1)
	}
}

// order is what the command line asks for.
type order struct{ version, test, serve bool }

func parse(args []string, stderr io.Writer) (order, error) {
	o := order{serve: true}
	flags := flag.NewFlagSet("worker", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.version, "version", false, "print the version and exit")
	flags.BoolVar(&o.test, "selftest", false, "try what every job needs before serving; status 1 if something fails")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: worker [flags]            serve one job\n       worker [flags] selftest   try what every job needs, and exit")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return order{}, err
	}
	switch {
	case flags.NArg() == 0:
	case flags.NArg() == 1 && flags.Arg(0) == "selftest":
		o.test, o.serve = true, false
	default:
		return order{}, fmt.Errorf("unknown arguments %q", flags.Args())
	}
	return o, nil
}

// certificates are what crypto/x509 reads of the environment.
func certificates(getenv func(string) string) (env []string) {
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if value := getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// stamped is the version that the image's build gives.
var stamped string

// version is the one stamped, else the module's, else the commit it was built from.
func version() string {
	if stamped != "" {
		return stamped
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "devel"
}
