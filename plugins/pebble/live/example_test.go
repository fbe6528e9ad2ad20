package live_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/live"
)

// An application serves its store for as long as it has it open, and waits for
// the end of that before it closes the store.
func ExampleServe() {
	dir, err := os.MkdirTemp("", "app")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	db, err := pebbledb.Open(filepath.Join(dir, "queue"), &pebbledb.Options{Logger: silent{}})
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- live.Serve(ctx, filepath.Join(dir, "wring.sock"), live.Store{Name: "queue", DB: db}) }()

	err = db.Set([]byte("the application"), []byte("goes on"), pebbledb.Sync)
	fmt.Println("write:", err)

	stop()
	fmt.Println("served:", <-served)
	fmt.Println("closed:", db.Close())
	// Output:
	// write: <nil>
	// served: <nil>
	// closed: <nil>
}

// silent is a logger for an example.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(string, ...any) {}
