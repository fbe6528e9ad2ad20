// Measuring a store for its page: when the page opens, now and then, and when
// a compaction has ended.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { api, Problem } from './api'
import { onEvent, refresh } from './live'
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
// only planned. One measurement is made at a time; the answer of one
// that is given up is not waited for.
export function useMeasured(store: string, compacting: boolean, picture: boolean): [Measured, (depth?: string) => void] {
  const [measured, setMeasured] = useState<Measured>({ busy: false })
  const going = useRef<{ depth: string; stop: AbortController } | undefined>(undefined)
  const last = useRef({ at: 0, took: 0, withPlan: 0 })
  // exact is set while what is shown was read in full, and is still true.
  const exact = useRef(false)
  const compactingNow = useRef(compacting)
  compactingNow.current = compacting

  const measure = useCallback(
    async (depth = 'sampled') => {
      going.current?.stop.abort()
      const stop = new AbortController()
      going.current = { depth, stop }
      const begun = Date.now()
      exact.current = false
      setMeasured((m) => ({ ...m, busy: true }))
      try {
        const inspection = picture ? await api.inspect(store, depth, stop.signal) : undefined
        if (stop.signal.aborted) return
        if (inspection) setMeasured(({ problem: _, ...m }) => ({ ...m, inspection, at: Date.now() }))
        exact.current = depth === 'exact' && !inspection?.error
      } catch (e) {
        if (stop.signal.aborted) return
        if (!compactingNow.current) setMeasured((m) => ({ ...m, problem: said(e) }))
      }
      last.current.took = Date.now() - begun
      // A plan measures too, and during a compaction there is none.
      if (!compactingNow.current) {
        const plans = await api.plan(store, stop.signal).catch(() => undefined) // what is wrong with the store, measuring it has said
        if (stop.signal.aborted) return
        if (plans) setMeasured((m) => ({ ...m, plans, plannedAt: Date.now() }))
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
    const stop = onEvent((e) => {
      if (e.store !== store || !e.result) return
      const changed = e.result.attempts > 0
      if (changed || !(exact.current || going.current)) void measure(going.current?.depth)
    })
    return () => {
      stop()
      going.current?.stop.abort() // nobody waits for what is still to come
    }
  }, [store, measure])

  useEffect(() => {
    const timer = setInterval(() => {
      if (document.hidden || going.current || exact.current) return
      const { at, took, withPlan } = last.current
      if (compacting && took > quickly) return
      const rest = compacting ? underWay : Math.max(atRest, Math.min(longestRest, restsFor * withPlan))
      if (Date.now() - at >= rest) void measure()
    }, looks)
    return () => clearInterval(timer)
  }, [compacting, measure])

  return [measured, (depth) => going.current || void measure(depth)]
}

function said(e: unknown): { error: string; hint: string } {
  return e instanceof Problem ? { error: e.message, hint: e.hint } : { error: String(e), hint: '' }
}
