// Dark or light: as the system says, unless the person has chosen.
import { observable } from './observable'

export type Theme = 'light' | 'dark'

const key = 'wring.theme'
const system = matchMedia('(prefers-color-scheme: dark)')
const systems = (): Theme => (system.matches ? 'dark' : 'light')

function stored(): Theme | null {
  try {
    const value = localStorage.getItem(key)
    return value === 'light' || value === 'dark' ? value : null
  } catch {
    return null // storage is switched off
  }
}

let chosen = stored()

// theme is the one in force. Whoever draws on a canvas follows it.
export const theme = observable<Theme>(chosen ?? systems())

function apply(): void {
  const now = chosen ?? systems()
  document.documentElement.dataset.theme = now
  theme.set(now)
}

export function toggleTheme(): void {
  const next: Theme = theme.get() === 'dark' ? 'light' : 'dark'
  // What the system says too is no choice that has to be kept.
  chosen = next === systems() ? null : next
  try {
    if (chosen) localStorage.setItem(key, chosen)
    else localStorage.removeItem(key)
  } catch {
    // It holds until the page is left.
  }
  apply()
}

export function followTheme(): void {
  apply()
  system.addEventListener('change', apply)
  addEventListener('storage', () => {
    chosen = stored() // another window
    apply()
  })
}

// color is a custom property of the style sheet, as a canvas takes it.
export function color(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim()
}
