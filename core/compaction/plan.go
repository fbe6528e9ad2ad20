package compaction

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/policy"
	"github.com/wringdb/wring/sdk"
)

// actionError is the Action of a Plan whose store cannot be measured.
const actionError = "error"

// Plan says what a scheduled run would do now to each store, and why. It
// measures and changes nothing. Patterns are resolved into what matches now. A
// store whose backend does not answer is an error of that store, after the time
// that its compaction may be silent. Its own error is the end of ctx.
func (r *Runner) Plan(ctx context.Context, stores []config.Store) ([]Plan, error) {
	plans := make([]Plan, 0, len(stores))
	for _, configured := range stores {
		warnings := configured.Schedule.Warnings(r.clock.Now())
		files, err := Expand(configured)
		if err == nil && len(files) == 0 {
			none := Plan{
				Store: configured.Name, Plugin: configured.Plugin, Path: cmp.Or(configured.Glob, configured.OwnerDir), Configured: configured.Name,
				Action: "skip", Code: history.CodeNoFiles, Reason: noFiles(configured), Warnings: warnings,
			}
			if configured.OwnerDir != "" {
				none.Action, none.Code = "defer", history.CodeOwnerAway
			}
			plans = append(plans, none)
		}
		if err != nil {
			plans = append(plans, Plan{
				Store: configured.Name, Plugin: configured.Plugin, Path: cmp.Or(configured.Glob, configured.OwnerDir), Configured: configured.Name,
				Action: actionError, Code: history.CodeError, Reason: err.Error(), Error: err.Error(), Hint: sdk.HintOf(err), Warnings: warnings,
			})
		}
		for i, store := range files {
			plan := r.planOne(question{ctx: ctx, store: store, found: store.Name != configured.Name || store.FoundBy != ""})
			if ctx.Err() != nil {
				return plans, sdk.Errorf(sdk.ErrCancelled, "plan: %w", ctx.Err())
			}
			plan.Configured = configured.Name
			if i == 0 { // once for all files of a pattern
				plan.Warnings = append(warnings, plan.Warnings...)
			}
			plans = append(plans, plan)
		}
	}
	return plans, nil
}

func noFiles(store config.Store) string {
	if store.OwnerDir != "" {
		return "no owner answers in " + store.OwnerDir
	}
	return "no file matches " + store.Glob
}

func (r *Runner) planOne(q question) Plan {
	ctx, store := q.ctx, q.store
	plan := Plan{Store: store.Name, Plugin: store.Plugin, Path: store.Path, Mode: store.Mode}
	if plan.Path == "" {
		plan.Path = store.Owner
	}
	reached := false
	err := protect(func() error {
		a, err := r.acquire(ctx, store)
		if err != nil {
			return err
		}
		defer a.giveBack()
		reached = true
		plan.Plugin, plan.Engine = a.plugin(), a.description.Engine
		if modes := a.description.Capabilities.Modes; plan.Mode == "" && len(modes) > 0 {
			plan.Mode = modes[0]
		}
		past := r.past(store.Name)
		plan.Warnings = planWarnings(store, a.description, past)
		f, err := a.look(ctx, sdk.DepthSampled)
		if !a.hung {
			plan.Path = a.path()
		}
		if err != nil {
			return err
		}
		r.sample(store.Name, f)
		if f.Mode != "" {
			plan.Mode = f.Mode
		}
		plan.ModeReason = f.Note
		plan.AllocatedBytes, plan.PredictedBytes, plan.Ratio = f.AllocatedBytes, f.ReclaimableBytes, f.Ratio()
		decision := r.decide(store, past, &f, false, false)
		plan.Action, plan.Code, plan.Reason = string(decision.Action), decision.Code, decision.Reason
		if decision.Action == policy.Compact && f.Obstacle != nil {
			return f.Obstacle // as the compaction will say
		}
		return nil
	})
	if err == nil {
		return plan
	}
	v := q.judge(err, !reached)
	plan.Code, plan.Reason, plan.Error, plan.Hint = v.code, v.reason, err.Error(), sdk.HintOf(err)
	switch v.outcome {
	case history.Deferred:
		plan.Action = "defer"
	case history.Skipped:
		plan.Action = "skip"
	default:
		plan.Action = actionError
	}
	var p *panicError
	if errors.As(err, &p) {
		r.logger.Error("panic while planning", "store", store.Name, "panic", p.value, "stack", string(p.stack))
	}
	return plan
}

// planWarnings is what a person should know before the compaction.
func planWarnings(store config.Store, d sdk.Description, past history.Past) []string {
	var warnings []string
	if store.LimitBytesPerSecond > 0 && !d.Capabilities.LimitsRate {
		warnings = append(warnings, fmt.Sprintf("%s cannot limit its rate, so it will refuse to compact with limit = %s/s",
			d.Name, sdk.FormatBytes(store.LimitBytesPerSecond)))
	}
	if !d.Capabilities.Verifies {
		warnings = append(warnings, d.Name+" does not compare the content before and after")
	}
	if past.Unresolved {
		warnings = append(warnings, "how the last compaction ended is not known: the next run looks at the store before it does anything")
	}
	return warnings
}
