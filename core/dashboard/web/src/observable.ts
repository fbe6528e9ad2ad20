// A value that components follow.
import { useLayoutEffect, useReducer, useRef } from 'preact/hooks'

export interface Observable<T> {
  get(): T
  set(value: T): void
  subscribe(f: () => void): () => void
}

export function observable<T>(value: T): Observable<T> {
  const listeners = new Set<() => void>()
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return
      value = next
      for (const f of [...listeners]) f()
    },
    subscribe(f) {
      listeners.add(f)
      return () => listeners.delete(f)
    },
  }
}

// use returns what select makes of the value, and renders again when that is
// another one.
export function use<T, S>(source: Observable<T>, select: (value: T) => S): S {
  const [, again] = useReducer((n: number, _: void) => n + 1, 0)
  const selected = select(source.get())
  const seen = useRef({ select, selected })
  seen.current = { select, selected }
  useLayoutEffect(() => {
    const look = () => {
      if (!Object.is(seen.current.select(source.get()), seen.current.selected)) again()
    }
    look()
    return source.subscribe(look)
  }, [source])
  return selected
}
