package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// document is what the tests read of openapi.yaml.
type document struct {
	OpenAPI    string                               `yaml:"openapi"`
	Paths      map[string]map[string]map[string]any `yaml:"paths"`
	Components struct {
		Parameters, Responses map[string]any
		Schemas               map[string]struct {
			Required             []string
			Properties           map[string]any
			AdditionalProperties any `yaml:"additionalProperties"`
		}
	}
}

func readDocument(t *testing.T) document {
	t.Helper()
	var d document
	if err := yaml.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEveryRouteIsInTheDocumentAndTheReverse(t *testing.T) {
	served := []string{"GET /metrics", "GET /debug/pprof/"}
	for _, r := range (&server{}).routes() {
		served = append(served, r.pattern)
	}
	var described, operations []string
	for path, methods := range readDocument(t).Paths {
		for method, operation := range methods {
			described = append(described, strings.ToUpper(method)+" "+path)
			operations = append(operations, operation["operationId"].(string))
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if !slices.Equal(served, described) {
		t.Errorf("served\n%s\ndescribed\n%s", strings.Join(served, "\n"), strings.Join(described, "\n"))
	}
	slices.Sort(operations)
	if len(slices.Compact(operations)) != len(described) {
		t.Error("an operationId is there twice")
	}
}

// jsonKeys are the keys of a type of package client, and those of them that are always there.
type jsonKeys struct{ all, always []string }

// clientTypes reads the types of package client that have JSON keys, by name.
func clientTypes(t *testing.T) map[string]jsonKeys {
	t.Helper()
	structs := map[string]*ast.StructType{}
	for _, file := range []string{"client/query.go", "client/table.go", "client/scale.go", "client/cluster.go", "client/errors.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if s, ok := spec.Type.(*ast.StructType); ok {
					structs[spec.Name.Name] = s
				}
			}
			return true
		})
	}
	var keys func(s *ast.StructType) jsonKeys
	keys = func(s *ast.StructType) (k jsonKeys) {
		for _, field := range s.Fields.List {
			if len(field.Names) == 0 {
				embedded := keys(structs[field.Type.(*ast.Ident).Name])
				k.all, k.always = append(k.all, embedded.all...), append(k.always, embedded.always...)
				continue
			}
			if field.Tag == nil {
				continue
			}
			name, options, _ := strings.Cut(reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("json"), ",")
			if name == "-" {
				continue
			}
			k.all = append(k.all, name)
			if options == "" {
				k.always = append(k.always, name)
			}
		}
		return k
	}
	types := map[string]jsonKeys{}
	for name, s := range structs {
		if k := keys(s); len(k.all) > 0 {
			slices.Sort(k.all)
			slices.Sort(k.always)
			types[name] = k
		}
	}
	return types
}

func TestEveryJSONKeyIsInTheDocumentAndTheReverse(t *testing.T) {
	d, types := readDocument(t), clientTypes(t)
	types["Range"] = jsonKeys{all: []string{"from", "to"}, always: []string{"from", "to"}} // topology's
	for name, k := range types {
		schema, ok := d.Components.Schemas[name]
		if !ok {
			t.Errorf("schema %s is not described", name)
			continue
		}
		var properties []string
		for p := range schema.Properties {
			properties = append(properties, p)
		}
		slices.Sort(properties)
		if !slices.Equal(properties, k.all) {
			t.Errorf("%s has keys %v, described are %v", name, k.all, properties)
		}
		slices.Sort(schema.Required)
		if !strings.HasSuffix(name, "Request") && !slices.Equal(schema.Required, k.always) {
			t.Errorf("%s always has %v, described as required are %v", name, k.always, schema.Required)
		}
		if strings.HasSuffix(name, "Request") && schema.AdditionalProperties != false {
			t.Errorf("%s is not described as refusing other keys", name)
		}
	}
	for name := range d.Components.Schemas {
		if _, ok := types[name]; !ok {
			t.Errorf("schema %s is described and no type", name)
		}
	}
}

func TestEveryReferenceInTheDocumentLeadsSomewhere(t *testing.T) {
	d := readDocument(t)
	var all any
	if err := yaml.Unmarshal(openAPI, &all); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				used[ref] = true
			}
			for _, x := range v {
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(all)
	there := map[string]bool{}
	for n := range d.Components.Schemas {
		there["#/components/schemas/"+n] = true
	}
	for n := range d.Components.Parameters {
		there["#/components/parameters/"+n] = true
	}
	for n := range d.Components.Responses {
		there["#/components/responses/"+n] = true
	}
	for ref := range used {
		if !there[ref] {
			t.Errorf("%s leads nowhere", ref)
		}
	}
	for ref := range there {
		if !used[ref] {
			t.Errorf("%s is not used", ref)
		}
	}
}
