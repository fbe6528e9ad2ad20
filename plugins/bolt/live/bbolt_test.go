package live_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/plugins/bolt/live"
	"github.com/wringdb/wring/sdk"
)

// store is what an application has of a *bbolt.DB, or of a *live.DB in its place.
type store interface {
	Begin(writable bool) (*bbolt.Tx, error)
	View(fn func(*bbolt.Tx) error) error
	Update(fn func(*bbolt.Tx) error) error
	Batch(fn func(*bbolt.Tx) error) error
	Stats() bbolt.Stats
	Sync() error
	Info() *bbolt.Info
	Path() string
	String() string
	GoString() string
	Logger() bbolt.Logger
	IsReadOnly() bool
	Close() error
}

var (
	_ store = (*bbolt.DB)(nil)
	_ store = (*live.DB)(nil)
)

// subject is either of the two.
type subject struct {
	store
	live *live.DB // nil for bbolt's own

	batches func(size int, delay time.Duration)
	maxSize func(bytes int)
}

// onBoth makes the same assertions on a *bbolt.DB and on a *live.DB.
func onBoth(t *testing.T, options *bbolt.Options, f func(t *testing.T, s *subject)) {
	t.Helper()
	for _, name := range []string{"bbolt", "live"} {
		t.Run(name, func(t *testing.T) {
			s, err := openSubject(name, filepath.Join(memoryDir(t), "a.db"), options)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			f(t, s)
		})
	}
}

func openSubject(name, path string, options *bbolt.Options) (*subject, error) {
	if name == "bbolt" {
		db, err := bbolt.Open(path, 0o600, options)
		if err != nil {
			return nil, err
		}
		return &subject{
			store:   db,
			batches: func(size int, delay time.Duration) { db.MaxBatchSize, db.MaxBatchDelay = size, delay },
			maxSize: func(bytes int) { db.MaxSize = bytes },
		}, nil
	}
	db, err := live.Open(path, 0o600, options)
	if err != nil {
		return nil, err
	}
	return &subject{
		store: db, live: db,
		batches: func(size int, delay time.Duration) { db.MaxBatchSize, db.MaxBatchDelay = size, delay },
		maxSize: func(bytes int) { db.MaxSize = bytes },
	}, nil
}

func (s *subject) put(t *testing.T, key string) {
	t.Helper()
	if err := s.Update(putting(key)); err != nil {
		t.Fatal(err)
	}
}

func putting(key string) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("bucket"))
		return errors.Join(err, b.Put([]byte(key), []byte(key)))
	}
}

func has(tx *bbolt.Tx, key string) bool {
	b := tx.Bucket([]byte("bucket"))
	return b != nil && b.Get([]byte(key)) != nil
}

// wantKeys looks at the newest state.
func (s *subject) wantKeys(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	if err := s.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket([]byte("bucket")); b != nil {
			return b.ForEach(func(k, _ []byte) error { got = append(got, string(k)); return nil })
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the keys are %q, want %q", got, want)
	}
}

// swap makes some garbage, and a new generation of what has such.
func (s *subject) swap(t *testing.T) {
	t.Helper()
	for _, change := range []func(tx *bbolt.Tx) error{
		func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket([]byte("garbage"))
			return errors.Join(err, b.Put([]byte("key"), make([]byte, 400<<10)))
		},
		func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("garbage")) },
	} {
		if err := s.Update(change); err != nil {
			t.Fatal(err)
		}
	}
	if s.live == nil {
		return
	}
	if result, err := s.live.Compact(context.Background(), live.CompactOptions{Mode: bolt.ModeRewrite, MaxPause: 10 * time.Second}); err != nil || result.NoOp {
		t.Fatalf("compact: %+v, error %v", result, err)
	}
}

// roomy maps so much that no writer has to wait for a reader.
func roomy() *bbolt.Options { return &bbolt.Options{NoSync: true, InitialMmapSize: 1 << 26} }

// panicOf is with what f panics, nil where it does not.
func panicOf(f func()) (p any) {
	defer func() { p = recover() }()
	f()
	return nil
}

// Who is given a managed transaction must not end it.
func TestManagedTransactionsAreNotEnded(t *testing.T) {
	onBoth(t, roomy(), func(t *testing.T, s *subject) {
		s.put(t, "a")
		for i, c := range []struct {
			name, want string
			run        func(func(*bbolt.Tx) error) error
			end        func(*bbolt.Tx) error
		}{
			{"commit in Update", "assertion failed: managed tx commit not allowed", s.Update, (*bbolt.Tx).Commit},
			{"roll back in Update", "assertion failed: managed tx rollback not allowed", s.Update, (*bbolt.Tx).Rollback},
			{"commit in View", "assertion failed: managed tx commit not allowed", s.View, (*bbolt.Tx).Commit},
			{"roll back in View", "assertion failed: managed tx rollback not allowed", s.View, (*bbolt.Tx).Rollback},
		} {
			if i == 2 {
				s.swap(t)
			}
			if p := panicOf(func() {
				_ = c.run(func(tx *bbolt.Tx) error {
					if tx.Writable() {
						_ = putting("lost")(tx)
					}
					return c.end(tx)
				})
			}); fmt.Sprint(p) != c.want {
				t.Errorf("%s: panic %v, want %v", c.name, p, c.want)
			}
		}
		s.put(t, "b") // the store has been released
		s.wantKeys(t, "a", "b")
		if n := s.Stats().OpenTxN; n != 0 {
			t.Errorf("%d transactions are open still", n)
		}
	})
}

// A managed transaction within another sees what has been committed, also where a
// new generation has come between them.
func TestManagedTransactionsWithinOthers(t *testing.T) {
	onBoth(t, roomy(), func(t *testing.T, s *subject) {
		s.put(t, "a")
		if err := s.Update(func(outer *bbolt.Tx) error {
			return errors.Join(putting("b")(outer), s.View(func(inner *bbolt.Tx) error {
				if !has(inner, "a") || has(inner, "b") {
					t.Error("a reader within a writer does not see what was before")
				}
				return nil
			}))
		}); err != nil {
			t.Error(err)
		}
		if err := s.View(func(outer *bbolt.Tx) error {
			s.swap(t)
			s.batches(1, 0)
			err := errors.Join(s.Update(putting("c")), s.Batch(putting("d")))
			return errors.Join(err, s.View(func(inner *bbolt.Tx) error {
				if !has(outer, "b") || has(outer, "c") || !has(inner, "c") || !has(inner, "d") {
					t.Error("a reader within another one does not see what was written between them, or the other one does")
				}
				return nil
			}))
		}); err != nil {
			t.Error(err)
		}
		s.wantKeys(t, "a", "b", "c", "d")
	})
}

// An error of the application's comes back as it is, and nothing is kept.
func TestErrorsRollBack(t *testing.T) {
	onBoth(t, roomy(), func(t *testing.T, s *subject) {
		mine := errors.New("mine")
		fails := func(tx *bbolt.Tx) error {
			if tx.Writable() {
				_ = putting("lost")(tx)
			}
			return mine
		}
		for range 2 {
			for name, run := range map[string]func(func(*bbolt.Tx) error) error{"Update": s.Update, "View": s.View, "Batch": s.Batch} {
				if err := run(fails); err != mine { //nolint:errorlint // the very same
					t.Errorf("%s: error %v, want %v", name, err, mine)
				}
			}
			if err := s.View(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("lost")); return err }); !errors.Is(err, berrors.ErrTxNotWritable) {
				t.Errorf("written in View: error %v", err)
			}
			s.wantKeys(t)
			s.swap(t)
		}
	})
}

// Handlers run once, in order, when the transaction has been committed and no other
// one has to wait.
func TestOnCommit(t *testing.T) {
	onBoth(t, roomy(), func(t *testing.T, s *subject) {
		var ran []string
		say := func(tx *bbolt.Tx, what string) { tx.OnCommit(func() { ran = append(ran, what) }) }
		s.batches(1, 0)
		for i, name := range []string{"first", "second"} {
			if i > 0 {
				s.swap(t)
			}
			if err := s.Update(func(tx *bbolt.Tx) error {
				say(tx, name+" update")
				tx.OnCommit(func() {
					if err := s.View(func(tx *bbolt.Tx) error {
						if !has(tx, name) {
							t.Error("a handler does not see what has been committed")
						}
						return nil
					}); err != nil {
						t.Error(err)
					}
					s.swap(t) // needs writers to be able to begin
				})
				say(tx, name+" update again")
				return putting(name)(tx)
			}); err != nil {
				t.Error(err)
			}
			_ = s.Update(func(tx *bbolt.Tx) error { say(tx, "rolled back"); return errUnwanted })
			if err := s.Batch(func(tx *bbolt.Tx) error { say(tx, name+" batch"); return nil }); err != nil {
				t.Error(err)
			}
			tx, err := s.Begin(true)
			if err != nil {
				t.Fatal(err)
			}
			say(tx, name+" begin")
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
		}
		want := []string{
			"first update", "first update again", "first batch", "first begin",
			"second update", "second update again", "second batch", "second begin",
		}
		if !slices.Equal(ran, want) {
			t.Errorf("ran %q, want %q", ran, want)
		}
	})
}

// Whatever a callback ends by, its transaction is rolled back, and others go on.
func TestPanicsReleaseTheStore(t *testing.T) {
	onBoth(t, roomy(), func(t *testing.T, s *subject) {
		type mine struct{ n int }
		for n := range 2 {
			for name, run := range map[string]func(func(*bbolt.Tx) error) error{"Update": s.Update, "View": s.View} {
				if p := panicOf(func() {
					_ = run(func(tx *bbolt.Tx) error {
						if tx.Writable() {
							_ = putting("lost")(tx)
						}
						panic(mine{n})
					})
				}); p != any(mine{n}) {
					t.Errorf("%s: panic %v, want %v", name, p, mine{n})
				}
				ended := make(chan struct{})
				go func() { // as a test does that fails in a callback
					defer close(ended)
					_ = run(func(*bbolt.Tx) error { runtime.Goexit(); return nil })
				}()
				<-ended
			}
			if open := s.Stats().OpenTxN; open != 0 {
				t.Errorf("%d transactions are open still", open)
			}
			s.wantKeys(t)
			s.swap(t) // waits for all writers
		}
	})
}

func TestReadOnly(t *testing.T) {
	path := filepath.Join(memoryDir(t), "a.db")
	first, err := openSubject("live", path, nil)
	if err != nil {
		t.Fatal(err)
	}
	first.put(t, "a")
	first.swap(t)
	first.swap(t)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bbolt", "live"} {
		t.Run(name, func(t *testing.T) {
			s, err := openSubject(name, path, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			other, err := openSubject(name, path, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
			if err != nil {
				t.Fatalf("a second reader: %v", err)
			}
			defer other.Close()
			s.batches(1, 0)
			_, err = s.Begin(true)
			for what, err := range map[string]error{"Begin": err, "Update": s.Update(putting("b")), "Batch": s.Batch(putting("c"))} {
				if !errors.Is(err, berrors.ErrDatabaseReadOnly) {
					t.Errorf("%s: error %v, want %v", what, err, berrors.ErrDatabaseReadOnly)
				}
			}
			if !s.IsReadOnly() {
				t.Error("it does not say that it is read-only")
			}
			s.wantKeys(t, "a")
			if s.live == nil {
				return
			}
			for _, mode := range []string{bolt.ModeAuto, bolt.ModeRewrite, bolt.ModePunch} {
				if _, err := s.live.Compact(t.Context(), live.CompactOptions{Mode: mode}); !errors.Is(err, sdk.ErrUnsupported) || sdk.HintOf(err) == "" {
					t.Errorf("compact in mode %s: error %v, hint %q", mode, err, sdk.HintOf(err))
				}
			}
			if f, err := s.live.Fragmentation(t.Context()); err != nil || f.TotalBytes == 0 {
				t.Errorf("measure: %+v, error %v", f, err)
			}
		})
	}
}

// What bbolt says of a store that cannot be opened.
func TestOpenRefuses(t *testing.T) {
	dir := memoryDir(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("text"), slices.Repeat([]byte("no store\n"), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	holder, err := bbolt.Open(path("held"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	for _, c := range []struct {
		name    string
		options *bbolt.Options
		want    error
	}{
		{"held", &bbolt.Options{Timeout: time.Nanosecond}, berrors.ErrTimeout},
		{"text", nil, berrors.ErrInvalid},
		{"none", &bbolt.Options{ReadOnly: true}, os.ErrNotExist},
		{"none/none", nil, os.ErrNotExist},
	} {
		for _, kind := range []string{"bbolt", "live"} {
			if _, err := openSubject(kind, path(c.name), c.options); !errors.Is(err, c.want) {
				t.Errorf("%s opens %q: error %v, want %v", kind, c.name, err, c.want)
			}
		}
	}
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	// Those attempts keep nobody out.
	again, err := openSubject("live", path("held"), &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	again.swap(t)
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestWhatItSaysOfItself(t *testing.T) {
	t.Chdir(memoryDir(t))
	logger := &bbolt.DefaultLogger{Logger: log.New(io.Discard, "", 0)}
	for _, name := range []string{"bbolt", "live"} {
		s, err := openSubject(name, name+".db", &bbolt.Options{PageSize: 2 << 10, Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			kind := map[string]string{"bbolt": "bolt", "live": "live"}[name]
			for what, c := range map[string]struct{ got, want string }{
				"Path":     {s.Path(), name + ".db"},
				"String":   {s.String(), fmt.Sprintf("DB<%q>", name+".db")},
				"GoString": {s.GoString(), fmt.Sprintf("%s.DB{path:%q}", kind, name+".db")},
				"%v":       {fmt.Sprintf("%v", s.store), fmt.Sprintf("DB<%q>", name+".db")},
				"%#v":      {fmt.Sprintf("%#v", s.store), fmt.Sprintf("%s.DB{path:%q}", kind, name+".db")},
			} {
				if c.got != c.want {
					t.Errorf("%s of %s is %q, want %q", what, name, c.got, c.want)
				}
			}
			if info := s.Info(); info.PageSize != 2<<10 || info.Data == 0 {
				t.Errorf("info of %s: %+v", name, info)
			}
			if s.IsReadOnly() || s.Logger() != bbolt.Logger(logger) {
				t.Errorf("%s: read-only %v, logger %v", name, s.IsReadOnly(), s.Logger())
			}
			if err := s.View(func(tx *bbolt.Tx) error {
				if got := tx.DB().Path(); got != name+".db" {
					t.Errorf("a transaction's store of %s has the path %q", name, got)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
			s.swap(t)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if got := s.Path(); got != "" {
			t.Errorf("closed, %s has the path %q", name, got)
		}
	}
}

// Without a logger of its own an application can log by bbolt's all the same.
func TestLoggerOfNobody(t *testing.T) {
	onBoth(t, nil, func(t *testing.T, s *subject) {
		for range 2 {
			if logger := s.Logger(); logger == nil {
				t.Fatal("there is no logger")
			} else {
				logger.Infof("said to nobody")
			}
			s.swap(t)
		}
	})
}
