package command_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// printAddress prints a TCP address at which nobody listens, as a document.
//
//	tool address
func printAddress([]string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("{\"address\":%q}\n", listener.Addr())
	return listener.Close()
}

// receive is a webhook's receiver, or an HTTP proxy that answers itself: it
// prints each document, if its signature is right, and until it is killed. What
// is not signed is printed behind its address, to stderr.
//
//	tool receive SECRETFILE ADDRESS
func receive(args []string) error {
	secret, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	key := strings.TrimSpace(string(secret))
	server := &http.Server{Addr: args[1], ReadHeaderTimeout: time.Minute}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the host was killed
		}
		signature := r.Header.Get("Wring-Signature")
		if signature == "" {
			fmt.Fprintf(os.Stderr, "%s %s\n", r.URL, body)
			return
		}
		mac := hmac.New(sha256.New, []byte(key))
		fmt.Fprintf(mac, "%s.%s", r.Header.Get("Wring-Timestamp"), body)
		if want := "v1=" + hex.EncodeToString(mac.Sum(nil)); signature != want {
			http.Error(w, "wrong signature", http.StatusUnauthorized)
			return
		}
		fmt.Printf("%s\n", body)
		fmt.Fprintln(w, "thanks")
	})
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
