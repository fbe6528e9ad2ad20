// Calls of the host. Every error that leaves here is a Problem.
import type { Inspection, Plan, Plugin, Result, Run, Sample, Session, Status } from './types'

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

// How long a call that only looks may take, in milliseconds: who waits longer
// has lost the host.
const patience = 15_000

async function call<T>(method: string, path: string, query: Record<string, string> = {}, body?: unknown, timeout = 0): Promise<T> {
  const params = new URLSearchParams(Object.entries(query).filter(([, v]) => v !== '')).toString()
  const init: RequestInit = { method, headers: { Accept: 'application/json' } }
  if (body !== undefined) {
    init.body = JSON.stringify(body)
    init.headers = { Accept: 'application/json', 'Content-Type': 'application/json' }
  }
  if (timeout > 0) init.signal = AbortSignal.timeout(timeout)
  let response: Response
  try {
    response = await fetch(path + (params && '?' + params), init)
  } catch {
    throw new Problem('The host does not answer.', 0)
  }
  const text = await response.text().catch(() => '')
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
  status: () => call<Status>('GET', '/v1/status', {}, undefined, patience),
  plugins: () => call<Plugin[]>('GET', '/v1/plugins'),
  // The answers of these three may take as long as a store is large.
  inspect: (store: string, depth = 'sampled') => call<Inspection>('GET', '/v1/inspect', { store, depth }),
  plan: (store: string) => call<Plan[]>('GET', '/v1/plan', { store }),
  cancel: (store: string) => call<{ cancelled: number }>('POST', '/v1/cancel', { store }),

  history: (store: string, limit: number) => call<Result[]>('GET', '/v1/history', { store, limit: String(limit) }),
  runs: (limit: number) => call<Run[]>('GET', '/v1/runs', { limit: String(limit) }),
  // Detached: leaving the page does not cancel it.
  compact: (store: string, force: boolean) => call<Run>('POST', '/v1/compact', {}, { stores: [store], force, detach: true }),
  pause: (store: string) => call<void>('POST', '/v1/pause', { store }),
  resume: (store: string) => call<void>('POST', '/v1/resume', { store }),
  samples: (store: string, limit: number) => optional(call<Sample[]>('GET', '/v1/samples', { store, limit: String(limit) }), []),

  session: () => optional<Session>(call<Session>('GET', '/v1/session', {}, undefined, patience), { authentication: 'none', scope: 'operate' }),
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
