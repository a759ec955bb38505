package seepnode

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestFlagsCountBeforeAndAfterArguments(t *testing.T) {
	commands := (&app{}).commands()
	want := []string{"run", "--set=a=b", "--nodes=3", "--", "q.sql"}
	for _, line := range []string{
		"run --set a=b --nodes 3 q.sql",
		"run --set a=b q.sql --nodes 3",
		"run q.sql --set a=b --nodes 3",
		"run q.sql -set a=b -nodes=3",
		"--set a=b run --nodes 3 q.sql",
		"run q.sql --set=a=b --nodes=3",
		"run --set a=b --nodes 3 -- q.sql",
	} {
		got, err := arrange(commands, strings.Fields(line))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", line, got, err, want)
		}
	}
}

func TestArgumentsKeepTheirMeaning(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"query plan - -json", "query|plan|--json|--|-"},
		{"run -- --set", "run|--|--set"},
		{"run --set -x=1 q", "run|--set=-x=1|--|q"},
		{"run -- -", "run|--|-"},
		{"run a b c", "run|--|a|b|c"},
		{"run q --json=false", "run|--json=false|--|q"},
		{"run q -v", "run|--v|--|q"},
		{"help run", "run|--help"},
		{"help", "--help"},
		{"-h", "--help"},
		{"query -h", "query|--help"},
		{"run q --help --nodes 3", "run|--help"},
		{"--version", "version"},
		{"version --json", "version|--json|--"},
	} {
		got, err := arrange((&app{}).commands(), strings.Fields(c.line))
		if err != nil || strings.Join(got, "|") != c.want {
			t.Errorf("%s: %q, %v; want %s", c.line, strings.Join(got, "|"), err, c.want)
		}
	}
}

// TestConfigIsWhatTheCommandLineSays goes through the library, so that nothing is dropped or split on the way.
func TestConfigIsWhatTheCommandLineSays(t *testing.T) {
	var got Config
	a := &app{streams: Streams{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}}
	ordered, err := arrange(a.commands(), []string{"run", "q.sql", "--set", "t.path=/a b, c=d", "--set=x= y ", "--set", "x=2", "-paranoid", "--workers", "7", "-json", "-v", "--nodes=5"})
	if err != nil {
		t.Fatal(err)
	}
	commands := a.commands()
	commands[0].Action = func(c *cli.Context) (err error) { got, err = configOf(c); return err }
	app := &cli.App{Commands: commands, DisableSliceFlagSeparator: true, HideVersion: true}
	if err := app.Run(append([]string{"seepnode"}, ordered...)); err != nil {
		t.Fatal(err)
	}
	if got.File != "q.sql" || got.Nodes != 5 || got.Workers != 7 || !got.Paranoid || !got.JSON || !got.Verbose || len(got.Set) != 2 ||
		got.Set["t.path"] != "/a b, c=d" || got.Set["x"] != "2" {
		t.Errorf("%+v", got)
	}
}

func TestNameOfAFlagMeansTheSameInEveryCommand(t *testing.T) {
	kinds := map[string]bool{}
	var walk func([]*cli.Command)
	walk = func(commands []*cli.Command) {
		for _, c := range commands {
			own := flagTable{}
			own.add(c.Flags)
			for name, takes := range own {
				if before, ok := kinds[name]; ok && before != takes {
					t.Errorf("--%s takes a value in one command and none in another", name)
				}
				kinds[name] = takes
			}
			walk(c.Subcommands)
		}
	}
	walk((&app{}).commands())
}

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	lines := []string{"--help", "help query plan", "query validate -h"}
	var walk func(path string, commands []*cli.Command)
	walk = func(path string, commands []*cli.Command) {
		for _, c := range commands {
			lines = append(lines, path+c.Name+" --help")
			walk(path+c.Name+" ", c.Subcommands)
		}
	}
	walk("", (&app{}).commands())
	for _, line := range lines {
		var out, errs bytes.Buffer
		code := Run(strings.Fields(line), Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
		if code != 0 || errs.Len() > 0 || !strings.Contains(out.String(), "Example") || !strings.Contains(out.String(), "Usage:\n  seepnode") {
			t.Errorf("seepnode %s: exit code %d, says %q, prints\n%s", line, code, errs.String(), out.String())
		}
	}
}

func FuzzArrange(f *testing.F) {
	for _, s := range []string{"run q --set a=b", "query plan -json -", "-- --", "rnu", "--=x", "---", "-", "", "run --set", "help help"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got, err := arrange((&app{}).commands(), strings.Split(line, " "))
		if err == nil && len(got) == 0 {
			t.Errorf("%q: neither a command nor an error", line)
		}
		if err != nil && strings.Contains(strings.TrimSpace(err.Error()), "\n") && !strings.Contains(line, "\n") {
			t.Errorf("%q: an error of several lines: %v", line, err)
		}
	})
}
