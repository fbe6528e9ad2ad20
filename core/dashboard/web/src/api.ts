// Calls of the host. Every error that leaves here is a Problem.
import type { Inspection, Plan, Result, Run, Sample, Session, Status } from './types'

// Problem is what the host answered instead, or that it did not answer
// (status 0).
export class Problem extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly hint = '',
  ) {
    super(message)
  }
}

// unauthorized is called when the host no longer knows who asks.
let unauthorized = (): void => {}
export function onUnauthorized(f: () => void): void {
  unauthorized = f
}

interface Answer {
  detail?: string
  errors?: { message: string; location: string }[]
}

// How long a call may take, in milliseconds: who waits longer has lost the host.
// A cancellation is answered once the backend has cleaned up.
const patience = 15_000
const cleansUp = 60_000

const silent = 'The host does not answer.'
const stillCleaning = 'The cancellation takes long: the backend still cleans up.'

// until ends a call in time, and late is what it says then. A call that measures
// takes as long as the store is large, and ends when nobody waits for it any more.
async function call<T>(
  method: string,
  path: string,
  query: Record<string, string> = {},
  body?: unknown,
  until: AbortSignal = AbortSignal.timeout(patience),
  late = silent,
): Promise<T> {
  const params = new URLSearchParams(Object.entries(query).filter(([, v]) => v !== '')).toString()
  const init: RequestInit = { method, headers: { Accept: 'application/json' } }
  if (body !== undefined) {
    init.body = JSON.stringify(body)
    init.headers = { Accept: 'application/json', 'Content-Type': 'application/json' }
  }
  init.signal = until
  let response: Response
  let text: string
  try {
    response = await fetch(path + (params && '?' + params), init)
    text = await response.text()
  } catch {
    throw new Problem(until.aborted ? late : silent, 0)
  }
  if (!response.ok) {
    if (response.status === 401 && path !== '/v1/session') unauthorized()
    throw problem(response.status, text)
  }
  return (text ? parse(text) : undefined) as T
}

function problem(status: number, text: string): Problem {
  const answer = parse(text) as Answer | undefined
  const hint = answer?.errors?.find((e) => e.location === 'hint')?.message
  return new Problem(answer?.detail ?? (text.trim().slice(0, 200) || `The host answered with status ${status}.`), status, hint)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export const api = {
  status: () => call<Status>('GET', '/v1/status'),
  inspect: (store: string, depth: string, until: AbortSignal) => call<Inspection>('GET', '/v1/inspect', { store, depth }, undefined, until),
  plan: (store: string, until: AbortSignal) => call<Plan[]>('GET', '/v1/plan', { store }, undefined, until),
  cancel: (store: string) => call<{ cancelled: number }>('POST', '/v1/cancel', { store }, undefined, AbortSignal.timeout(cleansUp), stillCleaning),

  // A store that the host does not know has no history.
  history: (store: string, limit: number) => optional(call<Result[]>('GET', '/v1/history', { store, limit: String(limit) }), []),
  runs: (limit: number) => call<Run[]>('GET', '/v1/runs', { limit: String(limit) }),
  // Detached: leaving the page does not cancel it.
  compact: (store: string, force: boolean) => call<Run>('POST', '/v1/compact', {}, { stores: [store], force, detach: true }),
  pause: (store: string) => call<void>('POST', '/v1/pause', { store }),
  resume: (store: string) => call<void>('POST', '/v1/resume', { store }),
  samples: (store: string, limit: number) => optional(call<Sample[]>('GET', '/v1/samples', { store, limit: String(limit) }), []),

  session: () => optional<Session>(call<Session>('GET', '/v1/session'), { authentication: 'none', scope: 'operate' }),
  login: (token: string) => call<void>('POST', '/v1/session', {}, { token }),
  logout: () => call<void>('DELETE', '/v1/session'),
}

// optional stands in for a call that this host does not have.
async function optional<T>(answer: Promise<T>, instead: T): Promise<T> {
  try {
    return await answer
  } catch (e) {
    if (e instanceof Problem && e.status === 404) return instead
    throw e
  }
}
