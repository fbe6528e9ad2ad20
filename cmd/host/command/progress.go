package command

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/sdk"
)

// display shows compactions under way: a bar for each on a terminal, elsewhere
// a line for each phase of those that take longer. It is not safe for use by more than one goroutine.
type display struct {
	container *mpb.Progress
	bars      map[string]*bar
	lines     io.Writer // where there is no terminal
}

// bar is the line of one store.
type bar struct {
	*mpb.Bar
	progress atomic.Pointer[event.Progress] // what its decorators show; never nil
	started  time.Time
}

// lineAfter is how long a compaction must have taken for a line about it: a
// thousand small stores are no news.
const lineAfter = time.Second

// newDisplay shows progress on standard error, and nothing to programs.
func (s *session) newDisplay() *display {
	d := &display{bars: map[string]*bar{}}
	var screen io.Writer
	switch {
	case s.json:
	case s.Terminal:
		screen = s.Err
	default:
		d.lines = s.Err
	}
	d.container = mpb.New(mpb.WithOutput(screen), mpb.WithWidth(32), mpb.WithRefreshRate(100*time.Millisecond))
	return d
}

// show takes up one event.
func (d *display) show(e event.Event) {
	switch e.Name {
	case event.CompactionStarted:
		d.finish(e.Store)
		d.bars[e.Store] = d.newBar(e.Store)
	case event.CompactionProgress:
		b := d.bars[e.Store]
		if b == nil || e.Progress == nil {
			return
		}
		if before := b.progress.Swap(e.Progress); before.Phase != e.Progress.Phase {
			b.SetCurrent(0)
			if d.lines != nil && time.Since(b.started) > lineAfter {
				fmt.Fprintf(d.lines, "%s: compacting, phase %s\n", e.Store, e.Progress.Phase)
			}
		}
		b.SetTotal(max(e.Progress.Total, e.Progress.Done), false)
		b.SetCurrent(e.Progress.Done)
	case event.CompactionComplete, event.CompactionFailed, event.CompactionSkipped, event.CompactionDeferred:
		d.finish(e.Store)
	default: // nothing to draw
	}
}

func (d *display) newBar(store string) *bar {
	b := &bar{started: time.Now()}
	b.progress.Store(&event.Progress{})
	b.Bar = d.container.AddBar(0,
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(
			decor.Name(store+"  "),
			decor.Any(func(decor.Statistics) string { return fmt.Sprintf("%-8s", b.progress.Load().Phase) }),
		),
		mpb.AppendDecorators(
			decor.Any(func(st decor.Statistics) string { return amounts(st.Current, st.Total) }),
			decor.Any(func(decor.Statistics) string { return "  " + time.Since(b.started).Round(time.Second).String() }),
			decor.Any(func(decor.Statistics) string { return "  " + b.progress.Load().Left() }),
		),
	)
	return b
}

func amounts(done, total int64) string {
	if total <= 0 {
		return ""
	}
	return fmt.Sprintf("%3d %%  %s of %s", done*100/total, sdk.FormatBytes(done), sdk.FormatBytes(total))
}

func (d *display) finish(store string) {
	if b := d.bars[store]; b != nil {
		b.Abort(true)
		delete(d.bars, store)
	}
}

// close takes every bar off the screen.
func (d *display) close() {
	for store := range d.bars {
		d.finish(store)
	}
	d.container.Wait()
}
