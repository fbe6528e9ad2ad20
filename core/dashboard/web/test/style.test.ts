import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { rgb } from '../src/grid'

const css = readFileSync('src/style/base.css', 'utf8')

// properties are the colours of a rule, by name.
function properties(selector: string): Map<string, string> {
  const rule = css.slice(css.indexOf(selector)).split('}')[0]!
  return new Map([...rule.matchAll(/--([a-z-]+): (#[0-9a-f]{6});/g)].map((m) => [m[1]!, m[2]!]))
}

function luminance(hex: string): number {
  const [r, g, b] = rgb(hex).map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4)) as [number, number, number]
  return 0.2126 * r + 0.7152 * g + 0.0722 * b
}

function contrast(a: string, b: string): number {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y) as [number, number]
  return (light + 0.05) / (dark + 0.05)
}

// WCAG 2.2: 4.5 for text, 3 for what has to be told apart.
test('colours can be told from what they are on', () => {
  const text = ['text page', 'muted page', 'faint page', 'faint panel', 'muted raised', 'accent panel', 'accent accent-soft', 'accent-text accent']
  const states = ['good', 'warn', 'bad'].map((s) => `${s} ${s}-soft`)
  const graphics = ['garbage raised', 'garbage panel', 'accent accent-soft', 'map-high panel', 'front panel']
  const light = properties(':root {')
  for (const [theme, colours] of [['light', light], ['dark', new Map([...light, ...properties(':root[data-theme="dark"]')])]] as const) {
    for (const [pairs, least] of [[[...text, ...states], 4.5], [graphics, 3]] as const) {
      for (const pair of pairs) {
        const [front, behind] = pair.split(' ').map((name) => colours.get(name)) as [string, string]
        const got = contrast(front, behind)
        assert.ok(got >= least, `${theme}: ${pair} is ${got.toFixed(2)}, want ${least}`)
      }
    }
  }
})
