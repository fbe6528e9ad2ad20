package main

import (
	"testing"
	"time"
)

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
