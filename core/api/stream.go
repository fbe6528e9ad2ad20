package api

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/wringdb/wring/core/event"
)

// maxEventLine is the longest event that a client takes, in bytes.
const maxEventLine = 1 << 20

// writeEvent writes one event of a server-sent stream.
func writeEvent(w io.Writer, e event.Event) error {
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	_, err = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", e.ID, data)
	return err
}

// readEvents reads a server-sent stream until it ends. Every event is one data
// line; other fields repeat what is in it.
func readEvents(stream io.Reader, f func(event.Event) error) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, maxEventLine)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var e event.Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("read an event: %w", err)
		}
		if err := f(e); err != nil {
			return err
		}
	}
	// A host that was killed ends its streams in the middle.
	if err := lines.Err(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("follow the host's events: %w", err)
	}
	return nil
}
