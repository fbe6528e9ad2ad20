package api

import "github.com/danielgtaylor/huma/v2"

// list is a list as clients expect it: empty, and never null.
func list[T any](all []T) []T {
	if all == nil {
		return []T{}
	}
	return all
}

// noNulls takes from the description that lists in answers may be null. Those of
// requests may.
func noNulls(document *huma.OpenAPI) {
	for name, schema := range document.Components.Schemas.Map() {
		if name == "CompactRequest" {
			continue
		}
		for _, property := range schema.Properties {
			noNull(property)
		}
	}
	for _, path := range document.Paths {
		for _, operation := range []*huma.Operation{path.Get, path.Post, path.Delete} {
			if operation == nil {
				continue
			}
			for _, response := range operation.Responses {
				for _, content := range response.Content {
					noNull(content.Schema)
				}
			}
		}
	}
}

func noNull(schema *huma.Schema) {
	if schema != nil && schema.Type == huma.TypeArray {
		schema.Nullable = false
	}
}
