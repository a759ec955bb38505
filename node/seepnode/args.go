package seepnode

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seepnode/seepnode/node/query/spelling"
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
	if best := spelling.Nearest(word, names); best != "" {
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
	if best := spelling.Nearest(f.name, names); best != "" {
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
