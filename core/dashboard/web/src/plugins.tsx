// Plugins, which the host starts, and owners, to which it attaches.
import type { ComponentChildren } from 'preact'
import { useLayoutEffect, useRef } from 'preact/hooks'
import { count } from './format'
import { world } from './live'
import { use } from './observable'
import type { Plugin } from './types'
import { Fault, Panel, Time } from './ui'

const tones: Record<Plugin['state'], string> = {
  up: 'good',
  stopped: 'mute',
  starting: 'run',
  backoff: 'warn',
  failed: 'bad',
  away: 'warn',
}

export function Plugins() {
  const all = use(world, (w) => w.status?.plugins)
  const of = (kind: Plugin['kind']) => (all ?? []).filter((p) => p.kind === kind)
  const owners = of('owner')
  return (
    <article class="page">
      <h1>Plugins and owners</h1>
      <Panel title="Plugins">
        <List plugins={of('plugin')} none="No plugin is configured." />
      </Panel>
      <Panel title="Owners">
        <List plugins={owners} none="No application serves its stores here." />
      </Panel>
    </article>
  )
}

function List({ plugins, none }: { plugins: Plugin[]; none: string }) {
  if (plugins.length === 0) return <p class="empty">{none}</p>
  return (
    <ul class="plugins">
      {plugins.map((p) => (
        <li key={p.name}>
          <One plugin={p} />
        </li>
      ))}
    </ul>
  )
}

function One({ plugin: p }: { plugin: Plugin }) {
  const lines = p.last_lines ?? []
  return (
    <section aria-label={p.name}>
      <h3>
        {p.kind === 'owner' ? p.name.split('/').pop() : p.name} <span class={`badge ${tones[p.state]}`}>{p.state}</span>
        {p.backend && (
          <span class="faint">
            {p.backend} {p.version}
            {p.engine && <> · {p.engine}</>}
          </span>
        )}
      </h3>
      {p.last_error && <Fault error={lines.length > 0 ? p.last_error.split('; it last wrote:')[0]! : p.last_error} hint={p.last_hint} />}
      <dl class="facts">
        <Fact name="path" long>
          <code>{p.path || '—'}</code>
        </Fact>
        {p.sha256 && (
          <Fact name="sha256" long>
            <code>{p.sha256}</code> {p.pinned ? <span class="badge good">pinned</span> : <span class="faint">not pinned</span>}
          </Fact>
        )}
        {p.pid !== undefined && (
          <Fact name="process">
            {p.pid}
            {(p.processes ?? 1) > 1 && <> and {p.processes! - 1} more</>}
          </Fact>
        )}
        {p.started_at && (
          <Fact name={p.kind === 'owner' ? 'answers since' : 'started'}>
            <Time at={p.started_at} />
          </Fact>
        )}
        <Fact name="in use by">{count(p.leases)}</Fact>
        {p.kind === 'plugin' && <Fact name="restarts">{count(p.restarts)}</Fact>}
        {p.next_try_at && (
          <Fact name="next try">
            <Time at={p.next_try_at} />
          </Fact>
        )}
      </dl>
      {lines.length > 0 && (
        <details open={p.state === 'failed' || p.state === 'backoff'} onToggle={(e) => toEnd(e.currentTarget.querySelector('pre'))}>
          <summary>Last lines it wrote</summary>
          <Lines lines={lines} />
        </details>
      )}
    </section>
  )
}

// Lines begins at the newest, which come last.
function Lines({ lines }: { lines: readonly string[] }) {
  const box = useRef<HTMLPreElement>(null)
  const text = lines.join('\n')
  useLayoutEffect(() => toEnd(box.current), [text])
  return (
    <pre ref={box} tabIndex={0}>
      {text}
    </pre>
  )
}

function toEnd(box: HTMLElement | null): void {
  if (box) box.scrollTop = box.scrollHeight
}

function Fact({ name, long = false, children }: { name: string; long?: boolean; children: ComponentChildren }) {
  return (
    <div class={long ? 'long' : undefined}>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}
