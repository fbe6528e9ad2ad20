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
  busy: boolean
  problem?: { error: string; hint: string }
}

// How often, in ms: at rest, and while a compaction changes the store, when
// only what is quickly measured is measured at all.
const atRest = 60_000
const underWay = 5_000
const quickly = 1_000

// useMeasured returns what was measured last, and a function that measures now.
// What fails while the store is being compacted is no problem: it is measured
// again when that has ended.
export function useMeasured(store: string, compacting: boolean): [Measured, (depth?: string) => void] {
  const [measured, setMeasured] = useState<Measured>({ busy: false })
  const asked = useRef(0)
  const took = useRef(0)
  const compactingNow = useRef(compacting)
  compactingNow.current = compacting

  const measure = useCallback(
    async (depth = 'sampled') => {
      const turn = ++asked.current
      const begun = Date.now()
      setMeasured((m) => ({ ...m, busy: true }))
      try {
        const inspection = await api.inspect(store, depth)
        took.current = Date.now() - begun
        if (turn !== asked.current) return
        setMeasured((m) => {
          const { problem: _, ...rest } = m
          return { ...rest, inspection, at: Date.now(), busy: compactingNow.current ? false : m.busy }
        })
      } catch (e) {
        if (turn !== asked.current) return
        took.current = Date.now() - begun
        if (!compactingNow.current) setMeasured((m) => ({ ...m, problem: said(e) }))
      }
      // A plan measures too, and during a compaction there is none.
      if (turn === asked.current && !compactingNow.current) {
        try {
          const plans = await api.plan(store)
          if (turn === asked.current) setMeasured((m) => ({ ...m, plans }))
          refresh() // the host has its figures from this
        } catch {
          // What is wrong with the store, measuring it has said.
        }
      }
      if (turn === asked.current) setMeasured((m) => ({ ...m, busy: false }))
    },
    [store],
  )

  useEffect(() => {
    void measure()
    const stop = onEvent((e) => {
      if (e.store === store && e.result) void measure()
    })
    return () => {
      stop()
      asked.current++ // nobody waits for what is still to come
    }
  }, [store, measure])

  useEffect(() => {
    const timer = setInterval(
      () => {
        if (document.hidden || (compacting && took.current > quickly)) return
        void measure()
      },
      compacting ? underWay : atRest,
    )
    return () => clearInterval(timer)
  }, [compacting, measure])

  return [measured, (depth) => void measure(depth)]
}

function said(e: unknown): { error: string; hint: string } {
  return e instanceof Problem ? { error: e.message, hint: e.hint } : { error: String(e), hint: '' }
}
