package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// tab is a window of the browser with a profile of its own: its storage and its
// cookies are those of no other test.
type tab struct {
	*testing.T
	ctx context.Context

	mu       sync.Mutex
	messages []chromedp.ConsoleMessage
}

// violations notes in the page what its policy has kept from happening.
const violations = `window.violations = [];
addEventListener('securitypolicyviolation', (e) => violations.push(e.violatedDirective + ' ' + e.blockedURI + ' ' + e.sample));`

// newTab opens one. When the test ends, nothing may have been written to the
// console as an error, and no policy violated.
func newTab(t *testing.T) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	p := &tab{T: t, ctx: ctx}
	console := chromedp.Console(ctx)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for m, err := range console {
			if err != nil {
				return
			}
			p.mu.Lock()
			p.messages = append(p.messages, m)
			p.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		if t.Failed() {
			p.shoot("failed " + t.Name())
			t.Logf("the page shows:\n%s", text(p, "body"))
		}
		p.checkClean()
		cancel()
		<-read
	})
	p.first(violations)
	p.size(1280, 800)
	return p
}

// first runs a script in every page that is loaded from now on, before its own.
func (p *tab) first(script string) {
	p.Helper()
	p.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
		return err
	}))
}

// hurry lets the clock and the intervals of the pages go a hundred times faster.
func (p *tab) hurry() {
	p.Helper()
	p.first(`(() => {
		const now = Date.now, begun = now(), interval = setInterval
		Date.now = () => begun + 100 * (now() - begun)
		window.setInterval = (f, ms) => interval(f, ms / 100)
	})()`)
}

// later waits until so many minutes have gone by on the page's clock.
func (p *tab) later(minutes int) {
	p.Helper()
	then := eval[float64](p, "Date.now()") + float64(minutes)*60_000
	p.waitFor(fmt.Sprintf("Date.now() > %.0f", then))
}

// excuse is called with the errors of the network, which a test that stops the
// host expects.
func (p *tab) excuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	var rest []chromedp.ConsoleMessage
	for _, m := range p.messages {
		if m.Source != "network" && !strings.Contains(m.Text, "ERR_INCOMPLETE_CHUNKED_ENCODING") {
			rest = append(rest, m)
		}
	}
	p.messages = rest
}

func (p *tab) checkClean() {
	p.Helper()
	if found := eval[[]string](p, "window.violations ?? ['the page has not been loaded']"); len(found) > 0 {
		p.Errorf("the policy was violated: %q", found)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.messages {
		if m.Type == chromedp.ConsoleError || m.IsException() {
			p.Errorf("on the console: %s (%s, %s)", m, m.Source, m.URL)
		}
	}
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.Fatal(err)
	}
}

// eval returns what an expression of JavaScript gives.
func eval[T any](p *tab, expression string) T {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.Fatalf("%s: %v", expression, err)
	}
	return value
}

// waitFor waits until an expression is true.
func (p *tab) waitFor(expression string) {
	p.Helper()
	eventually(p.T, expression, func() bool { return eval[bool](p, "Boolean("+expression+")") })
}

// text is what a person reads in the first element of a selector, "" without one.
func text(p *tab, selector string) string {
	p.Helper()
	return eval[string](p, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}

// waitText waits until an element has a text in it.
func (p *tab) waitText(selector, part string) {
	p.Helper()
	p.waitFor(fmt.Sprintf("document.querySelector(%q)?.innerText.includes(%q)", selector, part))
}

// press clicks the button with a text, by the mouse.
func (p *tab) press(name string) {
	p.Helper()
	xpath := fmt.Sprintf("//button[not(@disabled) and normalize-space(.)=%q]", name)
	p.do(chromedp.Click(chromedp.Search(xpath), chromedp.NodeVisible))
}

// keys presses keys, one after another, as a keyboard does: what a shortcut
// takes is not typed.
func (p *tab) keys(keys string) {
	p.Helper()
	p.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		for _, r := range keys {
			key, ok := kb.Keys[r]
			if !ok {
				return fmt.Errorf("there is no key %q", r)
			}
			event := input.DispatchKeyEventParams{
				Type: input.DispatchKeyEventTypeKeyDown, Key: key.Key, Code: key.Code, Text: key.Text,
				UnmodifiedText: key.Unmodified, WindowsVirtualKeyCode: key.Windows, NativeVirtualKeyCode: key.Native,
			}
			if key.Shift {
				event.Modifiers = int64(chromedp.ModifierShift)
			}
			if _, err := cdp.Call(ctx, target, input.DispatchKeyEvent, event); err != nil {
				return err
			}
			event.Type, event.Text, event.UnmodifiedText = input.DispatchKeyEventTypeKeyUp, "", ""
			if _, err := cdp.Call(ctx, target, input.DispatchKeyEvent, event); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (p *tab) size(width, height int64) {
	p.Helper()
	p.do(chromedp.EmulateViewport(width, height))
}

// prefers sets what the system would say: "prefers-color-scheme", "dark".
func (p *tab) prefers(name, value string) {
	p.Helper()
	p.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: name, Value: value}},
		})
		return err
	}))
}

// shoot writes a picture of the window.
func (p *tab) shoot(name string) {
	p.Helper()
	png, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(pictures, slug(name)+".png"), png, 0o600)
	}
	if err != nil {
		p.Errorf("take a picture: %v", err)
	}
}

// noSideways fails when the page is wider than its window.
func (p *tab) noSideways() {
	p.Helper()
	if wide := eval[int](p, "document.documentElement.scrollWidth - innerWidth"); wide > 0 {
		who := eval[[]string](p, `[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
			.map((e) => e.tagName + '.' + e.className + ' ' + Math.round(e.getBoundingClientRect().right)).slice(0, 8)`)
		p.Errorf("%s is %d pixels wider than the window: %q", eval[string](p, "location.hash"), wide, who)
	}
}
