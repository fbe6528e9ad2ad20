// Keyboard shortcuts: single keys, which do nothing while somebody types.
import { useLayoutEffect, useRef } from 'preact/hooks'

export interface Shortcut {
  key: string
  does: string
}

// shortcuts are all there are, for the page behind "?".
export const shortcuts: { where: string; keys: Shortcut[] }[] = [
  {
    where: 'Everywhere',
    keys: [
      { key: '1 2 3 4', does: 'stores, runs, plugins, events' },
      { key: '/', does: 'filter stores or events' },
      { key: 't', does: 'dark or light' },
      { key: '?', does: 'this list' },
      { key: 'Esc', does: 'close, or back to the stores' },
    ],
  },
  {
    where: 'Stores',
    keys: [
      { key: '↓ ↑ j k', does: 'next and previous store' },
      { key: 'PgDn PgUp Home End', does: 'further down and up the list' },
      { key: 'Enter', does: 'open the store' },
    ],
  },
  {
    where: 'A store',
    keys: [
      { key: 'c', does: 'compact, if it is worth it' },
      { key: 'f', does: 'compact in any case (asks first)' },
      { key: 'x', does: 'cancel the compaction' },
      { key: 'p', does: 'pause or resume its schedule' },
      { key: 'm', does: 'measure again' },
    ],
  },
]

type Handlers = Record<string, (e: KeyboardEvent) => void>

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName))
}

// useKeys calls a handler for its key while the component is there.
export function useKeys(handlers: Handlers): void {
  const latest = useRef(handlers)
  latest.current = handlers
  useLayoutEffect(() => {
    const pressed = (e: KeyboardEvent) => {
      if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented) return
      if (typing(e.target) || document.querySelector('dialog[open]')) return
      const handler = latest.current[e.key]
      if (!handler) return
      e.preventDefault()
      handler(e)
    }
    addEventListener('keydown', pressed)
    return () => removeEventListener('keydown', pressed)
  }, [])
}
