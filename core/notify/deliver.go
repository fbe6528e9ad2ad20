package notify

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/wringdb/wring/core/config"
)

// Kind is how a target is told.
type Kind string

// The kinds of targets.
const (
	Webhook Kind = "webhook"
	Slack   Kind = "slack"
	Command Kind = "command"
)

func kindOf(settings config.Notify) Kind {
	switch {
	case settings.Webhook != "":
		return Webhook
	case settings.Slack != "":
		return Slack
	}
	return Command
}

// Answer is what came of telling one target.
type Answer struct {
	Target string `json:"target"`
	Kind   Kind   `json:"kind" enum:"webhook,slack,command"`
	OK     bool   `json:"ok"`
	// Text is the beginning of what the target answered, or printed.
	Text string `json:"text,omitempty"`
	// Error is why it was not told, Hint what to do about it.
	Error      string `json:"error,omitempty"`
	Hint       string `json:"hint,omitempty"`
	DurationMS int64  `json:"duration_ms"`

	verdict verdict
	// after is how long the target wants to be left alone.
	after time.Duration
}

// verdict is what an answer means for the notice.
type verdict int

const (
	// failed: another attempt may do better.
	failed verdict = iota
	// taken: the target has it.
	taken
	// refused: the target does not want it, as far as it says.
	refused
	// gone: the target wants nothing any more.
	gone
)

// deliver tells one target, within its timeout.
func (n *Notifier) deliver(ctx context.Context, settings config.Notify, notice Notice) Answer {
	timeout := settings.Timeout
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	var a Answer
	switch kind := kindOf(settings); kind {
	case Webhook:
		a = n.post(ctx, settings.Webhook, settings.SecretFile, notice, encode(notice))
	case Slack:
		a = n.post(ctx, settings.Slack, "", notice, encode(map[string]string{"text": slackText(notice)}))
	case Command:
		a = runHook(ctx, settings.Command, notice)
	}
	a.Target, a.Kind = settings.Name, kindOf(settings)
	a.OK = a.verdict == taken
	a.DurationMS = time.Since(began).Milliseconds()
	if !a.OK && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		a.Error = fmt.Sprintf("no answer within %s", timeout)
		if a.Kind == Command {
			a.Error = fmt.Sprintf("it did not end within %s and was killed", timeout)
		}
		a.Hint = "look at the target; timeout in its notify block gives it longer"
	}
	return a
}

// slackText is a notice in the markup that Slack and its likes understand.
func slackText(notice Notice) string {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	text := fmt.Sprintf("*wring* on %s: %s", escape.Replace(notice.Host), escape.Replace(notice.Message))
	if notice.Hint != "" {
		text += "\n" + escape.Replace(notice.Hint)
	}
	return text
}

// maxText bounds what is kept of an answer, in bytes.
const maxText = 500

// firstLines are the first lines of what a target says, fit for a log.
func firstLines(said []byte) string {
	var lines []string
	for line := range strings.Lines(strings.ToValidUTF8(string(said), "�")) {
		line = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return -1
			}
			return r
		}, line)
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
		if len(lines) == 5 {
			break
		}
	}
	text := strings.Join(lines, " | ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// whyNot is what an error says without the address that it may show.
func whyNot(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return config.WithoutSecrets(err.Error())
}
