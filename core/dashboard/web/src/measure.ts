// Measuring a store for its page: when the page opens, now and then, and when
// a compaction has ended.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { api, Problem } from './api'
import { onEvent, refresh, world } from './live'
import type { Inspection, Plan } from './types'

export interface Measured {
  inspection?: Inspection
  plans?: Plan[]
  // at is when the inspection came, in ms.
  at?: number
  // plannedAt is when the plans came, with which the host has taken a sample.
  plannedAt?: number
  busy: boolean
  problem?: { error: string; hint: string }
}

// How often, in ms: at rest, and while a compaction changes the store, when
// only what is quickly measured is measured at all. At rest a store is left alone
// for twenty times as long as it took to measure, though no longer than an hour:
// several windows may look at it.
const atRest = 60_000
const restsFor = 20
const longestRest = 3_600_000
const underWay = 5_000
const quickly = 1_000
const looks = 1_000

// useMeasured returns what was measured last, and a function that measures now.
// What fails while the store is being compacted is no problem: it is measured
// again when that has ended. What stands for several stores has no picture, and is
// only planned. One measurement is made at a time: to measure gives up the one
// under way, whose answer may never come. One that the connection was lost to is made
// again once it is back.
export function useMeasured(store: string, compacting: boolean, picture: boolean): [Measured, (depth?: string) => void] {
  const [measured, setMeasured] = useState<Measured>({ busy: true })
  const going = useRef<{ depth: string; stop: AbortController } | undefined>(undefined)
  const last = useRef({ at: 0, took: 0, withPlan: 0 })
  // exact is set while what is shown was read in full, and is still true as far as
  // events say; gaps counts the times when some may have been missed.
  const exact = useRef(false)
  const gaps = useRef(0)
  // owed is the depth of a measurement that did not come to an end.
  const owed = useRef<string | undefined>(undefined)
  const compactingNow = useRef(compacting)
  compactingNow.current = compacting

  const measure = useCallback(
    async (depth = 'sampled') => {
      going.current?.stop.abort()
      const stop = new AbortController()
      going.current = { depth, stop }
      owed.current = undefined
      const begun = Date.now()
      const before = gaps.current
      exact.current = false
      setMeasured((m) => ({ ...m, busy: true }))
      try {
        const inspection = picture ? await api.inspect(store, depth, stop.signal) : undefined
        if (stop.signal.aborted) return
        if (inspection) setMeasured(({ problem: _, ...m }) => ({ ...m, inspection, at: Date.now() }))
        exact.current = depth === 'exact' && !inspection?.error && gaps.current === before
      } catch (e) {
        if (stop.signal.aborted) return
        owed.current = depth
        if (!compactingNow.current) setMeasured((m) => ({ ...m, problem: said(e) }))
      }
      last.current.took = Date.now() - begun
      // A plan measures too, and during a compaction there is none.
      if (!compactingNow.current) {
        const plans = await api.plan(store, stop.signal).catch(() => undefined) // what is wrong with the store, measuring it has said
        if (stop.signal.aborted) return
        if (plans) setMeasured((m) => ({ ...m, plans, plannedAt: Date.now() }))
        else owed.current ??= 'sampled'
        refresh() // the host has its figures from this
      }
      going.current = undefined
      last.current.at = Date.now()
      last.current.withPlan = Date.now() - begun
      setMeasured((m) => ({ ...m, busy: false }))
    },
    [store, picture],
  )

  useEffect(() => {
    void measure()
    const missed = () => {
      gaps.current++
      exact.current = false
    }
    const stop = onEvent((e) => {
      if (e.dropped) missed()
      if (e.store !== store || !e.result) return
      const changed = e.result.attempts > 0
      if (changed || !(exact.current || going.current)) void measure(going.current?.depth)
    })
    let link = world.get().link.state
    const unfollow = world.subscribe(() => {
      const before = link
      link = world.get().link.state
      if (link === before) return
      if (link === 'away') {
        if (!going.current) return
        owed.current = going.current.depth
        going.current.stop.abort()
        going.current = undefined
        setMeasured((m) => ({ ...m, busy: false }))
      } else if (before === 'away') {
        missed() // by a host that was started anew, for one
        const depth = owed.current ?? going.current?.depth
        if (depth) void measure(depth)
      }
    })
    return () => {
      stop()
      unfollow()
      going.current?.stop.abort() // nobody waits for what is still to come
    }
  }, [store, measure])

  useEffect(() => {
    const timer = setInterval(() => {
      if (document.hidden || world.get().link.state === 'away' || going.current || exact.current) return
      const { at, took, withPlan } = last.current
      if (compacting && took > quickly) return
      const rest = compacting ? underWay : Math.max(atRest, Math.min(longestRest, restsFor * withPlan))
      if (Date.now() - at >= rest) void measure()
    }, looks)
    return () => clearInterval(timer)
  }, [compacting, measure])

  return [measured, (depth) => void measure(depth)]
}

function said(e: unknown): { error: string; hint: string } {
  return e instanceof Problem ? { error: e.message, hint: e.hint } : { error: String(e), hint: '' }
}
