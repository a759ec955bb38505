package seepnode

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/seepnode/seepnode/node/api/metrics"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/format"
	"github.com/seepnode/seepnode/node/query/expr"
)

var update = flag.Bool("update", false, "write what is generated into README.md")

// families are the scalar functions by what they are for. A function that none names is put under "other".
var families = []struct {
	name  string
	names string
}{
	{"conditions", "COALESCE GREATEST IF IFNULL ISNULL LEAST NULLIF TYPEOF"},
	{"numbers", "ABS ACOS ASIN ATAN ATAN2 BIN CEIL CEILING COS COSH COT DEGREES E EXP FLOOR HEX LN LOG LOG10 LOG2 MOD PI POWER RADIANS RAND RAND_INTEGER ROUND SIGN SIN SINH SQRT TAN TANH TRUNCATE UNHEX"},
	{"text", "ASCII BTRIM CHARACTER_LENGTH CHAR_LENGTH CHR CONCAT CONCAT_WS DECODE ELT ENCODE ENDSWITH FROM_BASE64 INITCAP INSTR LEFT LOCATE LOWER LPAD LTRIM OCTET_LENGTH OVERLAY POSITION PRINTF REPEAT REPLACE REVERSE RIGHT RPAD RTRIM SPLIT SPLIT_INDEX STARTSWITH SUBSTR SUBSTRING TO_BASE64 TRANSLATE TRIM UPPER URL_DECODE URL_ENCODE PARSE_URL UUID STR_TO_MAP"},
	{"patterns", "REGEXP REGEXP_COUNT REGEXP_EXTRACT REGEXP_EXTRACT_ALL REGEXP_INSTR REGEXP_LIKE REGEXP_REPLACE REGEXP_SUBSTR"},
	{"hashes", "MD5 SHA1 SHA2 SHA224 SHA256 SHA384 SHA512"},
	{"dates and times", "CONVERT_TZ CURRENT_DATE CURRENT_ROW_TIMESTAMP CURRENT_TIME CURRENT_TIMESTAMP DATE_FORMAT DAYOFMONTH DAYOFWEEK DAYOFYEAR EXTRACT FROM_UNIXTIME HOUR LOCALTIME LOCALTIMESTAMP MINUTE MONTH NOW PROCTIME QUARTER SECOND TIMESTAMPADD TIMESTAMPDIFF TO_DATE TO_TIMESTAMP TO_TIMESTAMP_LTZ UNIX_TIMESTAMP WEEK YEAR"},
	{"collections", "ARRAY_APPEND ARRAY_CONCAT ARRAY_CONTAINS ARRAY_DISTINCT ARRAY_EXCEPT ARRAY_INTERSECT ARRAY_JOIN ARRAY_MAX ARRAY_MIN ARRAY_POSITION ARRAY_PREPEND ARRAY_REMOVE ARRAY_REVERSE ARRAY_SLICE ARRAY_SORT ARRAY_UNION CARDINALITY ELEMENT MAP_ENTRIES MAP_FROM_ARRAYS MAP_KEYS MAP_UNION MAP_VALUES"},
	{"JSON", "IS_JSON JSON_EXISTS JSON_OBJECT JSON_QUERY JSON_STRING JSON_VALUE"},
}

func functionsText() string {
	var names []string
	for _, n := range expr.Functions() {
		if n[0] >= 'A' && n[0] <= 'Z' {
			names = append(names, n)
		}
	}
	var b strings.Builder
	b.WriteString("| functions | |\n| --- | --- |\n")
	row := func(family string, members []string) {
		if len(members) > 0 {
			fmt.Fprintf(&b, "| %s | `%s` |\n", family, strings.Join(members, "` `"))
		}
	}
	placed := map[string]bool{}
	for _, f := range families {
		var members []string
		for _, n := range names {
			if slices.Contains(strings.Fields(f.names), n) {
				members = append(members, n)
				placed[n] = true
			}
		}
		row(f.name, members)
	}
	row("other", slices.DeleteFunc(names, func(n string) bool { return placed[n] }))
	return b.String()
}

func connectorsText(t *testing.T) string {
	a := &app{streams: Streams{Out: os.Stdout, Err: os.Stderr}}
	for _, o := range builtin() {
		if err := o(a); err != nil {
			t.Fatal(err)
		}
	}
	var b strings.Builder
	for _, name := range a.Connectors() {
		d, _ := a.Connector(name)
		var does []string
		if d.NewSource != nil {
			does = append(does, "source")
		}
		if d.NewSink != nil && d.Updates {
			does = append(does, "sink, takes updates")
		} else if d.NewSink != nil {
			does = append(does, "sink, append-only")
		}
		fmt.Fprintf(&b, "**`%s`** (%s). %s\n\n", name, strings.Join(does, "; "), d.Doc)
		optionsText(&b, d.Options)
	}
	for _, name := range format.Names() {
		if options := format.Options(name); len(options) > 0 {
			fmt.Fprintf(&b, "**`'format' = '%s'`**\n\n", name)
			optionsText(&b, options)
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func optionsText(b *strings.Builder, options []connector.Option) {
	if len(options) == 0 {
		return
	}
	b.WriteString("| option | default | |\n| --- | --- | --- |\n")
	for _, o := range options {
		standard := "`" + o.Default + "`"
		switch {
		case o.Required:
			standard = "*required*"
		case o.Default == "":
			standard = ""
		}
		doc := o.Doc
		if o.Kind == connector.Enum {
			doc += " One of `" + strings.Join(o.Values, "`, `") + "`."
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", o.Name, standard, strings.ReplaceAll(doc, "|", `\|`))
	}
	b.WriteString("\n")
}

func commandsText() string {
	var b strings.Builder
	b.WriteString("| command | what it does |\n| --- | --- |\n")
	var walk func(path, of string, commands []*cli.Command)
	walk = func(path, of string, commands []*cli.Command) {
		for _, c := range commands {
			full, usage := path+" "+c.Name, c.Usage
			if len(c.Subcommands) > 0 {
				walk(full, c.Usage, c.Subcommands)
				continue
			}
			if strings.HasPrefix(usage, "its ") { // the group's
				usage += ": " + of
			}
			fmt.Fprintf(&b, "| `%s` | %s |\n", strings.TrimSpace(full+" "+c.ArgsUsage), usage)
		}
	}
	walk("seepnode", "", (&app{streams: Streams{Out: os.Stdout, Err: os.Stderr}}).commands())
	return b.String()
}

func settingsText() string {
	var b strings.Builder
	b.WriteString("| flag and key | environment | default | |\n| --- | --- | --- | --- |\n")
	for i := range agentSettings {
		s := &agentSettings[i]
		usage := s.usage
		if s.many {
			usage += "; may be repeated"
		}
		fmt.Fprintf(&b, "| `--%s` | `%s` | %s | %s |\n", s.name, s.env(), s.text, strings.ReplaceAll(usage, "`", "*"))
	}
	return b.String()
}

// pathsText lists the paths of the API's description, which a test of package api keeps equal to what is served.
func pathsText(t *testing.T) string {
	description, err := os.ReadFile("../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| path | what |\n| --- | --- |\n")
	path, method, rows := "", "", 0
	for line := range strings.Lines(string(description)) {
		text := strings.TrimSpace(line)
		switch depth := len(line) - len(strings.TrimLeft(line, " ")); {
		case text == "components:":
			path = ""
		case depth == 2 && strings.HasPrefix(text, "/"):
			path = strings.TrimSuffix(text, ":")
		case depth == 4 && path != "":
			method = strings.ToUpper(strings.TrimSuffix(text, ":"))
		case depth == 6 && path != "" && strings.HasPrefix(text, "summary: "):
			summary := strings.Trim(strings.TrimPrefix(text, "summary: "), `"`)
			fmt.Fprintf(&b, "| `%s %s` | %s |\n", method, path, strings.ReplaceAll(summary, "|", `\|`))
			rows++
		}
	}
	if rows == 0 {
		t.Fatal("openapi.yaml has no paths where they are looked for")
	}
	return b.String()
}

// between replaces what stands between the comment of that name and the next end.
func between(t *testing.T, text, name, content string) string {
	t.Helper()
	begin, end := "<!-- "+name+" -->\n", "<!-- end -->\n"
	before, rest, ok := strings.Cut(text, begin)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("README.md has no %q", begin)
	}
	return before + begin + content + end + after
}

// TestReadmeListsWhatThereIs keeps the tables of commands, settings, paths, metrics, functions and options true; -update writes them.
func TestReadmeListsWhatThereIs(t *testing.T) {
	const path = "../../README.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := between(t, string(text), "functions", functionsText())
	want = between(t, want, "connectors", connectorsText(t))
	want = between(t, want, "commands", commandsText())
	want = between(t, want, "settings", settingsText())
	want = between(t, want, "paths", pathsText(t))
	want = between(t, want, "metrics", metrics.Table())
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatal("README.md is behind: run go test ./node/seepnode -run Readme -update")
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}
