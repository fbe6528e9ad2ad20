package main

import (
	"testing"
	"time"
)

func TestRatios(t *testing.T) {
	// The machine was half as fast in the last round: both took twice as long.
	got := sample{10, 12, 20}.over(sample{5, 4, 10})
	if want := (ratios{Median: 2, Min: 2, Max: 3}); got != want {
		t.Errorf("want %v, got %v", want, got)
	}
	if got := (sample{1}).over(nil); got != (ratios{}) {
		t.Errorf("nothing to hold it against: got %v", got)
	}
}

func TestSample(t *testing.T) {
	for _, c := range []struct {
		name                     string
		of                       sample
		median, mad, least, most time.Duration
	}{
		{"none", nil, 0, 0, 0, 0},
		{"one", sample{7}, 7, 0, 7, 7},
		{"odd, an outlier", sample{10, 12, 90, 11, 13}, 12, 1, 10, 90},
		{"even", sample{10, 20, 40, 30}, 25, 10, 10, 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.of.median(); got != c.median {
				t.Errorf("median: want %d, got %d", c.median, got)
			}
			if got := c.of.mad(); got != c.mad {
				t.Errorf("mad: want %d, got %d", c.mad, got)
			}
			if least, most := c.of.least(), c.of.most(); least != c.least || most != c.most {
				t.Errorf("range: want %d–%d, got %d–%d", c.least, c.most, least, most)
			}
		})
	}
}
