package sdktest

import (
	"strings"
	"testing"

	"github.com/wringdb/wring/sdk"
)

func TestProgressMistake(t *testing.T) {
	sound := sdk.Progress{Phase: "copy", Unit: "pages", Done: 5, Total: 10, BytesRead: 50, BytesWritten: 20}
	for name, c := range map[string]struct {
		change func(*sdk.Progress) // of a progress that follows sound
		want   string              // part of the mistake; "" for none
	}{
		"nothing new":        {func(*sdk.Progress) {}, ""},
		"further":            {func(p *sdk.Progress) { p.Done = 10 }, ""},
		"more to do":         {func(p *sdk.Progress) { p.Total = 20 }, ""},
		"next phase":         {func(p *sdk.Progress) { p.Phase, p.Done, p.Total, p.Unit = "verify", 0, 3, "keys" }, ""},
		"phase of two words": {func(p *sdk.Progress) { p.Phase = "copy_tables" }, ""},
		"no phase":           {func(p *sdk.Progress) { p.Phase = "" }, "no word"},
		"phase as a title":   {func(p *sdk.Progress) { p.Phase = "Copying tables" }, "no word"},
		"no unit":            {func(p *sdk.Progress) { p.Unit = "" }, "no unit"},
		"another unit":       {func(p *sdk.Progress) { p.Unit = "keys" }, "changes its unit"},
		"negative":           {func(p *sdk.Progress) { p.Done = -1 }, "at -1"},
		"past the total":     {func(p *sdk.Progress) { p.Done = 11 }, "11 of only 10"},
		"backwards":          {func(p *sdk.Progress) { p.Done = 4 }, "goes back from 5 to 4"},
		"less to do":         {func(p *sdk.Progress) { p.Total = 9 }, "shrinks from 10 to 9"},
		"total forgotten":    {func(p *sdk.Progress) { p.Total = 0 }, "shrinks from 10 to 0"},
		"fewer bytes read":   {func(p *sdk.Progress) { p.Phase, p.BytesRead = "verify", 49 }, "bytes read shrink"},
		"fewer written":      {func(p *sdk.Progress) { p.BytesWritten = 0 }, "bytes written shrink"},
	} {
		t.Run(name, func(t *testing.T) {
			next := sound
			c.change(&next)
			got := progressMistake(&sound, next)
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("mistake %q, want %q", got, c.want)
			}
		})
	}
}
