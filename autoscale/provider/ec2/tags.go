package ec2

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Amazon's limits of tags. Three of the tags of an instance are seepnode's own; those that a template adds are not known here.
const (
	tagsMax       = 50 - 3
	tagKeyRunes   = 128
	tagValueRunes = 256
)

// ParseTags reads tags as people give them, KEY=VALUE+KEY=VALUE: neither keys nor values have a + in them. "" are none.
func ParseTags(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	tags := map[string]string{}
	for pair := range strings.SplitSeq(text, "+") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("tag %.60q: give KEY=VALUE, with + between several", pair)
		}
		if _, twice := tags[key]; twice {
			return nil, fmt.Errorf("tag %.60q is given twice", key)
		}
		tags[key] = value
	}
	return tags, checkTags(tags)
}

// checkTags says which tag EC2 would refuse, or is seepnode's own.
func checkTags(tags map[string]string) error {
	if len(tags) > tagsMax {
		return fmt.Errorf("%d tags are too many: an instance has at most %d beside seepnode's own", len(tags), tagsMax)
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		switch value := tags[key]; {
		case key == "" || utf8.RuneCountInString(key) > tagKeyRunes || !utf8.ValidString(key):
			return fmt.Errorf("tag %.60q=%.60q: give a key of 1 to %d characters", key, value, tagKeyRunes)
		case utf8.RuneCountInString(value) > tagValueRunes || !utf8.ValidString(value):
			return fmt.Errorf("tag %.60q: give a value of at most %d characters", key, tagValueRunes)
		case key == "Name" || strings.HasPrefix(key, "seepnode:"):
			return fmt.Errorf("tag %.60q is seepnode's own: by such tags it finds what it has started", key)
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return fmt.Errorf("tag %.60q: keys that begin with aws: are Amazon's", key)
		}
	}
	return nil
}
