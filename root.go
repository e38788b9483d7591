// Package root holds what stands at the top of the repository and is part of the program: the description of its API.
package root

import _ "embed"

// OpenAPI is openapi.yaml.
//
//go:embed openapi.yaml
var OpenAPI []byte
