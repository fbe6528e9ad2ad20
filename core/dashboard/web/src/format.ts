// Numbers and times as people read them.

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB']

// bytes is "72.6 MiB"; below a KiB without a decimal place.
export function bytes(n: number): string {
  const sign = n < 0 ? '−' : ''
  let size = Math.abs(n)
  let unit = 0
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024
    unit++
  }
  // What rounds to 1024 is one of the next.
  if (unit > 0 && unit < units.length - 1 && size >= 1023.95) {
    size /= 1024
    unit++
  }
  return `${sign}${unit === 0 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`
}

export function count(n: number): string {
  return n.toLocaleString('en-US').replaceAll(',', '\u202f')
}

export function plural(n: number, one: string, many = one + 's'): string {
  return `${count(n)} ${n === 1 ? one : many}`
}

// percent is for a share from 0 to 1.
export function percent(share: number): string {
  const p = share * 100
  if (p > 0 && p < 1) return '<1 %'
  if (p > 99 && p < 100) return '>99 %'
  return `${Math.round(p)} %`
}

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

// span is a length of time in its largest unit, or two where the second says
// something: "850 ms", "2.1 s", "3 min", "4 h 20 min", "12 days".
export function span(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`
  if (ms < 99_500) return `${Math.round(ms / 1000)} s`
  if (ms < hour) return `${Math.round(ms / minute)} min`
  if (ms < 10 * hour) {
    const minutes = Math.round(ms / minute)
    return minutes % 60 === 0 ? `${minutes / 60} h` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
  }
  if (ms < 2 * day) return `${Math.round(ms / hour)} h`
  if (ms < 730 * day) return plural(Math.round(ms / day), 'day')
  return `${Math.round(ms / day / 365)} years`
}

// coarse is a span that goes on: nobody reads tenths of a second that change.
export function coarse(ms: number): string {
  return ms < 99_500 ? `${Math.max(1, Math.round(ms / 1000))} s` : span(ms)
}

// relative is a moment seen from now: "3 min ago", "in 2 h".
export function relative(at: number, now: number): string {
  const distance = Math.abs(at - now)
  if (distance < 1000) return 'now'
  const whole = coarse(distance)
  return at < now ? `${whole} ago` : `in ${whole}`
}

// exact is the moment in the time zone of whoever looks, in a form that sorts.
export function exact(at: number): string {
  const d = new Date(at)
  const two = (n: number) => String(n).padStart(2, '0')
  const offset = -d.getTimezoneOffset()
  const zone = `${offset < 0 ? '−' : '+'}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())} ${zone}`
}

// clock is the time of day.
export function clock(at: number): string {
  return exact(at).slice(11, 19)
}

// amount is a quantity in the unit that a backend counts in.
export function amount(n: number, unit: string): string {
  return unit === 'bytes' ? bytes(n) : `${count(n)} ${unit}`.trim()
}
