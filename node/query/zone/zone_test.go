package zone

import (
	"testing"
	"time"
)

func TestZonesComeFromTheEmbeddedData(t *testing.T) {
	t.Setenv("ZONEINFO", "/nonexistent")
	for name, want := range map[string]string{"Europe/Berlin": "2026-07-01T14:00:00+02:00", "America/New_York": "2026-07-01T08:00:00-04:00", "UTC": "2026-07-01T12:00:00Z"} {
		l, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC).In(l).Format(time.RFC3339); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for _, name := range []string{"Local", "Europe/", "Europe", "../etc/passwd", "Mars/Olympus"} {
		if _, err := Load(name); err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}
