// The connection to the host: one stream of events, and status asked for again
// when one of them says that it has changed. It comes back by itself.
import { api, onUnauthorized, Problem } from './api'
import { observable } from './observable'
import type { Event } from './types'
import { changesStatus, nothing, withEvents, withStatus } from './world'

export const world = observable(nothing)

// Between two questions for status, in ms: after an event, and without one.
const soon = 300
const gap = 1500
const seldom = 30_000
// The longest wait before the host is tried again.
const longestRetry = 10_000

let stream: EventSource | undefined
let retries = 0
let retryTimer = 0
let statusTimer = 0
let statusAskedAt = 0

// begin asks who we are, and follows the host if we may.
export async function begin(): Promise<void> {
  onUnauthorized(signedOut)
  try {
    const session = await api.session()
    world.set({ ...world.get(), session })
    if (session.scope !== '') await connect()
    else hangUp()
  } catch (e) {
    away(e)
  }
}

// leave logs out. The pages go first, so that none of them asks for anything that
// is refused by then.
export async function leave(): Promise<void> {
  signedOut()
  try {
    await api.logout()
  } finally {
    await begin()
  }
}

function signedOut(): void {
  const session = world.get().session
  if (session && session.scope !== '') {
    hangUp()
    world.set({ ...nothing, session: { ...session, scope: '' } })
  }
}

// locked says whether nobody is logged in, or no longer.
const locked = (): boolean => world.get().session?.scope === ''

function hangUp(): void {
  stream?.close()
  stream = undefined
  clearTimeout(retryTimer)
  clearTimeout(statusTimer)
}

async function connect(): Promise<void> {
  hangUp()
  await askStatus() // first: it tells whether this is still the same host
  if (locked()) return
  const opened = new EventSource(`/v1/events?since=${world.get().lastID}`)
  stream = opened
  opened.onopen = () => {
    retries = 0
    world.set({ ...world.get(), link: { state: 'live' } })
    scheduleStatus(seldom)
  }
  opened.onmessage = (message: MessageEvent<string>) => take(JSON.parse(message.data) as Event)
  opened.onerror = () => {
    if (stream === opened) away()
  }
}

// away notes that the host does not answer, and tries again later.
function away(e?: unknown): void {
  if (e instanceof Problem && e.status === 401) return
  hangUp()
  const now = Date.now()
  const wait = Math.min(longestRetry, 500 * 2 ** retries++)
  const link = world.get().link
  world.set({ ...world.get(), link: { state: 'away', since: link.state === 'away' ? link.since : now, retryAt: now + wait } })
  retryTimer = window.setTimeout(() => void retry(), wait)
}

// retry tries the host now.
export async function retry(): Promise<void> {
  clearTimeout(retryTimer)
  if (!world.get().session) return begin()
  try {
    await connect()
  } catch (e) {
    away(e)
  }
}

async function askStatus(): Promise<void> {
  statusAskedAt = Date.now()
  const status = await api.status()
  if (locked()) return
  world.set(withStatus(world.get(), status, Date.now()))
}

// refresh asks for status now, as after something that this window has done.
export function refresh(): void {
  scheduleStatus(0)
}

function scheduleStatus(wait: number): void {
  clearTimeout(statusTimer)
  statusTimer = window.setTimeout(() => {
    askStatus().then(
      () => locked() || scheduleStatus(seldom),
      (e: unknown) => away(e),
    )
  }, wait)
}

// Events come in bursts: they are taken together, once for each frame.
let waiting: Event[] = []

function take(e: Event): void {
  waiting.push(e)
  if (waiting.length > 1) return
  // A window in the background draws no frames.
  setTimeout(() => {
    const events = waiting
    waiting = []
    world.set(withEvents(world.get(), events, Date.now()))
    for (const event of events) for (const f of followers) f(event)
    if (events.some(changesStatus)) {
      scheduleStatus(Math.max(soon, statusAskedAt + gap - Date.now()))
    }
  }, 16)
}

const followers = new Set<(e: Event) => void>()

// onEvent calls f with each event that comes, until the function that it
// returns is called.
export function onEvent(f: (e: Event) => void): () => void {
  followers.add(f)
  return () => followers.delete(f)
}
