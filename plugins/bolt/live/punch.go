package live

import (
	"context"
	"time"

	"github.com/wringdb/wring/sdk"
)

// punch gives free pages back in place.
func (db *DB) punch(context.Context, string, sdk.Size, sdk.Fragmentation, CompactOptions, time.Time) (sdk.CompactResult, error) {
	return sdk.CompactResult{}, sdk.Errorf(sdk.ErrUnsupported, "compact %s: mode punch does not work yet while the store is in use", db.path)
}
