package plan

import (
	"slices"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/format"
)

// formatOptions are the options of a format; false when there is none of that name.
func formatOptions(name string) ([]connector.Option, bool) {
	return format.Options(name), slices.Contains(formatNames(), name)
}

func formatNames() []string { return format.Names() }
