package seepnode

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// The command-line library stops reading flags at the first argument and drops the later ones without a word. So arguments are
// put in order first: command, flags, "--", arguments.

// notYet are commands that people look for and that this version does not have.
var notYet = []string{"query replace", "node drain"}

// flagTable says for each name of a flag whether a value follows it.
type flagTable map[string]bool

func (t flagTable) add(flags []cli.Flag) {
	for _, f := range flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, name := range f.Names() {
			t[name] = !isBool
		}
	}
}

func (t flagTable) addAll(commands []*cli.Command) {
	for _, c := range commands {
		t.add(c.Flags)
		t.addAll(c.Subcommands)
	}
}

// givenFlag is a flag as it was given.
type givenFlag struct {
	text     string // with its dashes, without a value
	name     string
	value    string
	hasValue bool
}

// split tells flags from words. "--" ends flags; "-" is a word; a flag that no command has takes no value.
func (t flagTable) split(args []string) (flags []givenFlag, words []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return flags, append(words, args[i+1:]...)
		}
		if len(arg) < 2 || arg[0] != '-' {
			words = append(words, arg)
			continue
		}
		f := givenFlag{}
		f.text, f.value, f.hasValue = strings.Cut(arg, "=")
		f.name = strings.TrimPrefix(strings.TrimPrefix(f.text, "-"), "-")
		if t[f.name] && !f.hasValue && i+1 < len(args) {
			i++
			f.value, f.hasValue = args[i], true
		}
		flags = append(flags, f)
	}
	return flags, words
}

// arrange puts args in the order that the command-line library reads, and refuses unknown commands and flags.
func arrange(commands []*cli.Command, args []string) ([]string, error) {
	all := flagTable{"help": false, "h": false}
	all.addAll(commands)
	flags, words := all.split(args)
	help := false
	if len(words) > 0 && words[0] == "help" {
		help, words = true, words[1:]
	}
	if len(words) == 0 && slices.ContainsFunc(flags, func(f givenFlag) bool { return f.name == "version" }) {
		return []string{"version"}, nil
	}
	path, command, rest, err := find(commands, words)
	if err != nil {
		return nil, err
	}
	own := flagTable{"help": false, "h": false}
	if command != nil {
		own.add(command.Flags)
	}
	out := slices.Clone(path)
	for _, f := range flags {
		takesValue, known := own[f.name]
		switch {
		case !known:
			return nil, unknownFlag(own, f, path)
		case takesValue && !f.hasValue:
			return nil, usagef("flag %s needs a value", f.text)
		case f.hasValue:
			out = append(out, "--"+f.name+"="+f.value)
		case f.name == "help" || f.name == "h":
			help = true
		default:
			out = append(out, "--"+f.name)
		}
	}
	switch {
	case help:
		return append(slices.Clone(path), "--help"), nil
	case command == nil:
		return nil, errNoCommand
	case len(command.Subcommands) > 0:
		return nil, usagef("seepnode %s needs a command: %s", strings.Join(path, " "), strings.Join(commandNames(command.Subcommands), " or "))
	}
	return append(append(out, "--"), rest...), nil
}

// find walks down the commands that words name; rest are the words after them.
func find(commands []*cli.Command, words []string) (path []string, found *cli.Command, rest []string, err error) {
	for len(words) > 0 && len(commands) > 0 {
		word := words[0]
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.Name == word })
		if i < 0 {
			return nil, nil, nil, unknownCommand(commands, path, word)
		}
		found, path, words = commands[i], append(path, word), words[1:]
		commands = found.Subcommands
	}
	return path, found, words, nil
}

func unknownCommand(commands []*cli.Command, path []string, word string) error {
	full := strings.Join(append(slices.Clone(path), word), " ")
	if slices.Contains(notYet, full) {
		return usagef("command %q is not supported yet", full)
	}
	names := commandNames(commands)
	if best := nearest(word, names); best != "" {
		return usagef("unknown command %q; did you mean %q?", full, strings.Join(append(slices.Clone(path), best), " "))
	}
	return usagef("unknown command %q; there are: %s", full, strings.Join(names, ", "))
}

func unknownFlag(own flagTable, f givenFlag, path []string) error {
	names := make([]string, 0, len(own))
	for name := range own {
		if len(name) > 1 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	of := strings.Join(append([]string{"seepnode"}, path...), " ")
	if best := nearest(f.name, names); best != "" {
		return usagef("unknown flag %q of %s; did you mean \"--%s\"?", f.text, of, best)
	}
	return usagef("unknown flag %q of %s; see %s --help", f.text, of, of)
}

func commandNames(commands []*cli.Command) []string {
	var names []string
	for _, c := range commands {
		names = append(names, c.Name)
	}
	return names
}

// nearest is the name that word most likely stands for: the one with the fewest slips, if they are few for its length, the first
// of equals; "" without.
func nearest(word string, names []string) string {
	best, fewest := "", 4
	for _, name := range names {
		slips := editDistance(word, name)
		if slips < fewest && slips <= (max(len(word), len(name))+1)/3 {
			best, fewest = name, slips
		}
	}
	if best == "" && len(word) >= 3 {
		for _, name := range names {
			if strings.HasPrefix(name, word) {
				return name
			}
		}
	}
	return best
}

// wordMax bounds the words that are compared, in bytes.
const wordMax = 64

// editDistance counts insertions, deletions, replacements and swaps of neighbours between a and b, byte by byte.
func editDistance(a, b string) int {
	if len(a) > wordMax || len(b) > wordMax {
		return wordMax
	}
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
