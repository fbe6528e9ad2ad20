package content_test

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/internal/content"
)

// recorder writes events down.
type recorder struct {
	events []string
	failAt string
}

func (r *recorder) note(event string) error {
	r.events = append(r.events, event)
	if event == r.failAt {
		return errStop
	}
	return nil
}

var errStop = errors.New("stop")

func (r *recorder) Enter(name []byte, sequence uint64) error {
	return r.note("enter " + string(name) + " " + string(rune('0'+sequence)))
}
func (r *recorder) Leave() error                { return r.note("leave") }
func (r *recorder) Put(key, value []byte) error { return r.note(string(key) + "=" + string(value)) }

func open(t *testing.T) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "a.db"), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.Update(func(tx *bbolt.Tx) error {
		a, err := tx.CreateBucket([]byte("a"))
		if err != nil {
			return err
		}
		empty, err := a.CreateBucket([]byte("empty"))
		if err != nil {
			return err
		}
		return errors.Join(
			empty.SetSequence(7),
			a.Put([]byte("z"), nil),
			a.Put([]byte("b"), []byte("1")),
			// A key beside the buckets, which only a cursor of the root shows.
			tx.Cursor().Bucket().Put([]byte("root"), []byte("key")),
		)
	}); err != nil {
		t.Fatal(err)
	}
	return db
}

func TestWalk(t *testing.T) {
	db := open(t)
	r := &recorder{}
	if err := db.View(func(tx *bbolt.Tx) error { return content.Walk(tx, r) }); err != nil {
		t.Fatal(err)
	}
	want := []string{"enter a 0", "b=1", "enter empty 7", "leave", "z=", "leave", "root=key"}
	if !slices.Equal(r.events, want) {
		t.Errorf("walked %q, want %q", r.events, want)
	}
}

func TestWalkAndTeeStopAtAnError(t *testing.T) {
	db := open(t)
	for _, at := range []string{"enter a 0", "b=1", "leave", "z="} {
		first, second := &recorder{failAt: at}, &recorder{}
		err := db.View(func(tx *bbolt.Tx) error { return content.Walk(tx, content.Tee{first, second}) })
		if !errors.Is(err, errStop) {
			t.Errorf("at %q: error %v, want that of the visitor", at, err)
		}
		if got := first.events[len(first.events)-1]; got != at {
			t.Errorf("at %q: went on to %q", at, got)
		}
		if len(second.events) != len(first.events)-1 {
			t.Errorf("at %q: the second visitor saw %d events, want %d", at, len(second.events), len(first.events)-1)
		}
	}
}

func TestDigest(t *testing.T) {
	type event struct {
		kind     byte
		a, b     string
		sequence uint64
	}
	enter := func(name string, sequence uint64) event { return event{kind: 'B', a: name, sequence: sequence} }
	put := func(key, value string) event { return event{kind: 'K', a: key, b: value} }
	leave := event{kind: 'E'}
	digest := func(events []event) *content.Digest {
		d := content.NewDigest()
		for _, e := range events {
			var err error
			switch e.kind {
			case 'B':
				err = d.Enter([]byte(e.a), e.sequence)
			case 'E':
				err = d.Leave()
			case 'K':
				err = d.Put([]byte(e.a), []byte(e.b))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return d
	}
	contents := map[string][]event{
		"nothing":                  nil,
		"a bucket":                 {enter("a", 0), leave},
		"a sequence":               {enter("a", 1), leave},
		"another name":             {enter("b", 0), leave},
		"an empty value":           {put("a", "")},
		"a key":                    {enter("a", 0), put("k", "v"), leave},
		"the key outside":          {enter("a", 0), leave, put("k", "v")},
		"another boundary":         {enter("a", 0), put("kv", ""), leave},
		"two keys":                 {enter("a", 0), put("k", "v"), put("l", "w"), leave},
		"two keys in one":          {enter("a", 0), put("k", "vlw"), leave},
		"a bucket beside a bucket": {enter("a", 0), leave, enter("b", 0), leave},
		"a bucket in a bucket":     {enter("a", 0), enter("b", 0), leave, leave},
	}
	seen := make(map[string]string)
	for name, events := range contents {
		sum := digest(events).Sum()
		if again := digest(events).Sum(); again != sum {
			t.Errorf("%s: %s, then %s", name, sum, again)
		}
		if other, ok := seen[sum]; ok {
			t.Errorf("%s and %s have the same digest", name, other)
		}
		seen[sum] = name
	}
	if d := digest(contents["two keys"]); d.Items != 3 || d.Bytes != 5 {
		t.Errorf("counted %d items of %d bytes, want 3 of 5", d.Items, d.Bytes)
	}
}
