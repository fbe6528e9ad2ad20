// Which page the address names. Everything is behind the #, so that the host
// serves one file whatever the page.
import { useEffect, useState } from 'preact/hooks'

export type Route =
  | { page: 'stores' }
  | { page: 'store'; store: string }
  | { page: 'runs' }
  | { page: 'plugins' }
  | { page: 'events' }
  | { page: 'none' }

export function parse(hash: string): Route {
  const [, page = '', ...rest] = hash.split('/')
  switch (page) {
    case '':
      return { page: 'stores' }
    case 'store':
      try {
        return { page: 'store', store: decodeURIComponent(rest.join('/')) }
      } catch {
        return { page: 'none' }
      }
    case 'runs':
    case 'plugins':
    case 'events':
      return { page }
  }
  return { page: 'none' }
}

export const href = {
  stores: '#/',
  runs: '#/runs',
  plugins: '#/plugins',
  events: '#/events',
  store: (name: string) => '#/store/' + encodeURIComponent(name),
}

export function useRoute(): Route {
  const [hash, setHash] = useState(location.hash)
  useEffect(() => {
    const changed = () => setHash(location.hash)
    addEventListener('hashchange', changed)
    return () => removeEventListener('hashchange', changed)
  }, [])
  return parse(hash)
}
