// Short messages about what the person has just asked for.
import { Problem } from './api'
import { observable } from './observable'

export interface Notice {
  id: number
  text: string
  hint?: string
  bad: boolean
}

export const notices = observable<readonly Notice[]>([])

// How long a message stays, in ms; one about a failure stays until it is closed.
const stays = 6000
let last = 0

export function say(text: string, bad = false, hint?: string): void {
  const id = ++last
  notices.set([...notices.get().slice(-3), { id, text, bad, ...(hint ? { hint } : {}) }])
  if (!bad) setTimeout(() => close(id), stays)
}

export function close(id: number): void {
  notices.set(notices.get().filter((n) => n.id !== id))
}

// attempt does what a person has asked for, and says so when it goes wrong.
export async function attempt(what: () => Promise<void>): Promise<boolean> {
  try {
    await what()
    return true
  } catch (e) {
    if (e instanceof Problem && e.status === 401) return false // the login page says it
    say(e instanceof Error ? e.message : String(e), true, e instanceof Problem ? e.hint : undefined)
    return false
  }
}
