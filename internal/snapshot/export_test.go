package snapshot

import (
	"io"
	"os"
)

// MaxPath is the longest path, in bytes, that is saved.
const MaxPath = maxPath

// Pack is what the packing child does, in this process.
func Pack(dir string, t Tar, w io.Writer, include ...string) (Report, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Report{}, err
	}
	defer closeQuietly(root)
	if include, err = normalize(include); err != nil {
		return Report{}, err
	}
	return pack(root, include, t.limits(), w)
}

// Unpack is what the unpacking child does, in this process.
func Unpack(dir string, t Tar, r io.Reader) (files int, bytes int64, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, 0, err
	}
	defer closeQuietly(root)
	return UnpackInto(root, t, r)
}

// UnpackInto is Unpack into a directory that is open already.
func UnpackInto(root *os.Root, t Tar, r io.Reader) (files int, bytes int64, err error) {
	done, err := unpack(root, t.limits(), r)
	return done.Files, done.Bytes, err
}
