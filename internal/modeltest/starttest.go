package modeltest

// TB is what of a testing.TB the helper needs; the package is used outside tests too, so it does not import testing.
type TB interface {
	Helper()
	Cleanup(func())
	Fatal(args ...any)
	Error(args ...any)
}

// StartTest is Start for a test: closed at its end.
func StartTest(t TB, turns ...Turn) *Endpoint {
	t.Helper()
	e, err := Start(turns...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}
