package config

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// fileSuffix behind a secret's name makes the variable that names its file, the form in which Docker hands secrets over.
const fileSuffix = "_FILE"

// mostInFile bounds what is read of a secret's file: the largest there is, an OAuth credential, has a few kilobytes.
const mostInFile = 64 << 10

// readSecretFiles reads the files that _FILE variables name.
func (l *loader) readSecretFiles() {
	l.files = make(map[string]string)
	for _, e := range table {
		if e.Secret {
			l.readSecretFile(e.Variable)
		}
	}
}

func (l *loader) readSecretFile(v Variable) {
	name := v.Name + fileSuffix
	path := strings.TrimSpace(l.getenv(name))
	if path == "" {
		return
	}
	if other, value := l.plain(v); value != "" {
		l.problem("%s and %s are both set: drop one of them", name, other)
		return
	}
	value, err := readSmall(path)
	switch {
	case err != nil:
		l.problem("%s: %w", name, err)
	case value == "":
		l.problem("%s: %s is empty", name, path)
	}
	l.files[v.Name] = value // also after a problem: what is wrong is told once
}

// readSmall reads a file without the spaces and newlines around its text.
func readSmall(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, mostInFile+1))
	if err != nil {
		return "", err
	}
	if len(data) > mostInFile {
		return "", fmt.Errorf("%s is no secret: it has more than %d bytes", path, mostInFile)
	}
	return strings.TrimSpace(string(data)), nil
}
