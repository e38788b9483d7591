//go:build !amd64 && !arm64

package sandbox

// Nobody has tried the filter here.
const (
	nativeArch          = 0
	foreignCalls uint32 = 0
)
