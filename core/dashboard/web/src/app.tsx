// The frame round all pages.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { Events } from './events'
import { clock } from './format'
import { Help } from './help'
import { useKeys } from './keys'
import { leave, retry, world } from './live'
import { Login } from './login'
import { attempt, close, notices } from './notices'
import { use } from './observable'
import { Overview } from './overview'
import { Plugins } from './plugins'
import { href, useRoute } from './route'
import { Runs } from './runs'
import { StorePage } from './store'
import { theme, toggleTheme } from './theme'
import { useNow } from './ui'

const pages = [
  { page: 'stores', name: 'Stores', href: href.stores },
  { page: 'runs', name: 'Runs', href: href.runs },
  { page: 'plugins', name: 'Plugins', href: href.plugins },
  { page: 'events', name: 'Events', href: href.events },
]

export function App() {
  const session = use(world, (w) => w.session)
  const known = use(world, (w) => w.status !== undefined)
  const locked = session !== undefined && session.scope === ''
  return (
    <>
      {locked ? <Login session={session} /> : <Frame />}
      {!locked && !known && <p class="waiting">Asking the host…</p>}
      <Notices />
    </>
  )
}

function Frame() {
  const route = useRoute()
  const [help, setHelp] = useState(false)
  const version = use(world, (w) => w.status?.version)
  const known = version !== undefined
  useKeys({
    '1': () => (location.hash = href.stores),
    '2': () => (location.hash = href.runs),
    '3': () => (location.hash = href.plugins),
    '4': () => (location.hash = href.events),
    t: toggleTheme,
    '?': () => setHelp(true),
    Escape: () => (location.hash = href.stores),
  })
  const title = route.page === 'store' ? route.store : pages.find((p) => p.page === route.page)?.name
  const first = useRef(true)
  useEffect(() => {
    document.title = title ? `${title} · wring` : 'wring'
  }, [title])
  // Another page begins at its heading, also for who reads it by ear. The list of
  // stores knows by itself where it was left.
  useLayoutEffect(() => {
    if (!first.current) {
      if (route.page !== 'stores') scrollTo(0, 0)
      if (!document.activeElement?.closest('.stores')) focusHeading()
    }
    first.current = false
  }, [title])
  const here = route.page === 'store' ? 'stores' : route.page
  return (
    <>
      <header class="top">
        <a class="skip" href="#main" onClick={(e) => (e.preventDefault(), document.getElementById('main')?.focus())}>
          To the content
        </a>
        <a class="brand" href={href.stores} aria-label="wring, all stores">
          <Mark />
          wring
        </a>
        <nav aria-label="Pages">
          {pages.map((p) => (
            <a key={p.page} href={p.href} aria-current={p.page === here ? 'page' : undefined}>
              {p.name}
            </a>
          ))}
        </nav>
        <div class="tools">
          <Link />
          <Scope />
          <ThemeButton />
          <button type="button" class="plain" onClick={() => setHelp(true)} aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)">
            ?
          </button>
        </div>
      </header>
      <Away />
      <main id="main" tabIndex={-1}>
        {known && route.page === 'stores' && <Overview />}
        {known && route.page === 'store' && <StorePage key={route.store} name={route.store} />}
        {known && route.page === 'runs' && <Runs />}
        {known && route.page === 'plugins' && <Plugins />}
        {known && route.page === 'events' && <Events />}
        {route.page === 'none' && (
          <p class="empty">
            There is no such page. <a href={href.stores}>All stores</a>
          </p>
        )}
      </main>
      {help && <Help version={version ?? ''} onClose={() => setHelp(false)} />}
    </>
  )
}

function focusHeading(): void {
  const heading = document.querySelector<HTMLElement>('main h1') ?? document.getElementById('main')
  heading?.setAttribute('tabindex', '-1')
  heading?.focus({ preventScroll: true })
}

function Mark() {
  return (
    <svg viewBox="0 0 16 16" width="18" height="18" aria-hidden="true">
      <path d="M2 2h3.3v3.3H2zM6.35 2h3.3v3.3h-3.3zM2 6.35h3.3v3.3H2zM2 10.7h3.3V14H2zM6.35 10.7h3.3V14h-3.3z" />
      <path opacity=".3" d="M10.7 2H14v3.3h-3.3zM6.35 6.35h3.3v3.3h-3.3zM10.7 6.35H14v3.3h-3.3zM10.7 10.7H14V14h-3.3z" />
    </svg>
  )
}

function ThemeButton() {
  const now = use(theme, (t) => t)
  const next = now === 'dark' ? 'light' : 'dark'
  return (
    <button type="button" class="plain" onClick={toggleTheme} aria-label={`Switch to ${next}`} title={`Switch to ${next} (t)`}>
      <svg viewBox="0 0 16 16" width="15" height="15" aria-hidden="true">
        <circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="1.5" />
        <path d="M8 2a6 6 0 0 1 0 12z" fill="currentColor" />
      </svg>
    </button>
  )
}

// Link says how the connection is, in the corner.
function Link() {
  const state = use(world, (w) => w.link.state)
  const text = { live: 'live', connecting: 'connecting', away: 'away' }[state]
  return (
    <span class={`link ${state}`} data-link={state} title={state === 'live' ? 'Events arrive as they happen' : 'No connection to the host'}>
      <i aria-hidden="true" />
      <span>{text}</span>
    </span>
  )
}

function Scope() {
  const session = use(world, (w) => w.session)
  if (!session || session.authentication === 'none') return null
  return (
    <>
      {session.scope === 'read' && (
        <span class="badge mute" title="You may look, and not compact, cancel or pause">
          read only
        </span>
      )}
      {session.authentication === 'token' && (
        <button
          type="button"
          class="plain"
          onClick={() => void attempt(leave)}
        >
          Log out
        </button>
      )}
    </>
  )
}

// Away is the note that the connection is gone.
function Away() {
  const link = use(world, (w) => w.link)
  const known = use(world, (w) => w.status !== undefined)
  return (
    <div role="status" aria-live="polite">
      {link.state === 'away' && (
        <p class="away" id="away">
          <strong>The host does not answer.</strong> {known && <>What you see is as it was at {clock(link.since)}. </>}
          <RetryIn at={link.retryAt} />
          <button type="button" onClick={() => void retry()}>
            Try now
          </button>
        </p>
      )}
    </div>
  )
}

function RetryIn({ at }: { at: number }) {
  const left = Math.max(0, Math.ceil((at - useNow(500)) / 1000))
  return <span aria-hidden="true">{left > 0 ? `Trying again in ${left} s.` : 'Trying again…'} </span>
}

function Notices() {
  const list = use(notices, (n) => n)
  return (
    <div class="notices" role="status" aria-live="polite">
      {list.map((n) => (
        <div key={n.id} class={n.bad ? 'notice bad' : 'notice'}>
          <p>
            {n.text}
            {n.hint && <span class="hint">{n.hint}</span>}
          </p>
          <button type="button" class="plain" aria-label="Close this message" onClick={() => close(n.id)}>
            ×
          </button>
        </div>
      ))}
    </div>
  )
}
