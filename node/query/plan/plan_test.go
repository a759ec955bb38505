package plan

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// A file of testdata holds several queries: "-- name" begins one, "-- set key=value" is an option; its plan is in the file of that name
// with .plan.
func TestPlansAreTheGoldenOnes(t *testing.T) {
	tables, err := os.ReadFile("testdata/tables.sql")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/query/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal(err, len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".sql"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			src := string(text)
			if !strings.Contains(src, "CREATE TABLE") {
				src += string(tables)
				src = string(tables) + string(text)
			}
			p, err := Compile(src, testCatalog(), Options{Set: setsOf(string(text))})
			if err != nil {
				t.Fatal(err)
			}
			checkPlan(t, p)
			golden := strings.TrimSuffix(file, ".sql") + ".plan"
			got := p.Explain()
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the plan changed; run with -update if that is right\n%s", got)
			}
		})
	}
}

// setsOf reads the lines "-- set key=value".
func setsOf(text string) map[string]string {
	sets := map[string]string{}
	for line := range strings.Lines(text) {
		if kv, ok := strings.CutPrefix(strings.TrimSpace(line), "-- set "); ok {
			k, v, _ := strings.Cut(kv, "=")
			sets[k] = v
		}
	}
	return sets
}

// checkPlan holds a plan against what plan.go promises.
func checkPlan(t *testing.T, p *Plan) {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var again Plan
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(p, &again) {
		second, _ := json.Marshal(&again)
		t.Errorf("JSON changes the plan:\n%s\n%s", text, second)
	}
	names := map[string]bool{}
	for i, s := range p.Stages {
		if int(s.ID) != i {
			t.Errorf("stage %d has ID %d", i, s.ID)
		}
		if (s.Source >= 0) == (len(s.Inputs) > 0) {
			t.Errorf("stage %d is a source stage or has inputs", i)
		}
		for k, in := range s.Inputs {
			if in.Stage >= s.ID {
				t.Fatalf("stage %d reads stage %d", i, in.Stage)
			}
			o := p.Stages[in.Stage].Outputs[in.Output]
			if o.Consumer != s.ID || o.Input != k || o.Groups != s.Groups {
				t.Errorf("stage %d input %d: the output says %+v", i, k, o)
			}
			if (o.Partitioning == Single) != (s.Groups == 1 && o.Partitioning != ByKey && o.Partitioning != Spread) || (o.Partitioning == ByKey) != (len(o.Keys) > 0) {
				t.Errorf("stage %d input %d: partitioning %d with keys %v", i, k, o.Partitioning, o.Keys)
			}
		}
		for k, op := range s.Ops {
			if names[op.Name] {
				t.Errorf("%s is there twice", op.Name)
			}
			names[op.Name] = true
			checkOp(t, p, s, k, op)
		}
		for _, o := range s.Outputs {
			if !reflect.DeepEqual(o.Schema, s.Ops[o.Op].Schema) {
				t.Errorf("stage %d: an output's schema is not its operator's", i)
			}
		}
	}
}

func checkOp(t *testing.T, p *Plan, s *Stage, k int, op *Op) {
	t.Helper()
	if len(op.Inputs) == 0 {
		t.Fatalf("%s has no inputs", op.Name)
	}
	in := p.portSchema(s, op.Inputs[0])
	for _, port := range op.Inputs {
		if port.Op >= k || port.Op < 0 && s.Source < 0 && port.Stream >= len(s.Inputs) {
			t.Fatalf("%s reads what is not before it: %+v", op.Name, port)
		}
		other := p.portSchema(s, port)
		if len(other.Fields) != len(in.Fields) {
			t.Errorf("%s: inputs %s and %s", op.Name, in, other)
		}
		for i := range other.Fields {
			if !other.Fields[i].Type.Equal(in.Fields[i].Type) {
				t.Errorf("%s: inputs %s and %s", op.Name, in, other)
			}
		}
	}
	width := len(op.Schema.Fields)
	switch {
	case width == 0:
		t.Errorf("%s has no columns", op.Name)
	case op.Calc != nil:
		if width != len(op.Calc.Project) {
			t.Errorf("%s: %d columns of %d", op.Name, len(op.Calc.Project), width)
		}
		for i, n := range op.Calc.Project {
			if !n.Type.Equal(op.Schema.Fields[i].Type) {
				t.Errorf("%s: column %d is %s, not %s", op.Name, i, n.Type, op.Schema.Fields[i].Type)
			}
		}
	case op.Aggregate != nil && op.Aggregate.FromPartial:
		want := partialSchema(op.Aggregate)
		if !reflect.DeepEqual(in, want) {
			t.Errorf("%s: partial ones are %s, not %s", op.Name, in, want)
		}
	case op.Aggregate != nil && !reflect.DeepEqual(op.Aggregate.InputSchema.Fields, in.Fields):
		t.Errorf("%s: input %s, declared %s", op.Name, in, op.Aggregate.InputSchema)
	case op.Sink != nil && len(in.Fields) != width:
		t.Errorf("%s: input %s, rows %s", op.Name, in, op.Schema)
	}
}
