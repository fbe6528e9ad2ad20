// One store in the list.
import { bytes, percent } from './format'
import { world } from './live'
import { use } from './observable'
import { href } from './route'
import type { StoreStatus } from './types'
import { Bar, Bytes, HealthBadge, ProgressBar, progressText, Time } from './ui'

interface Props {
  store: StoreStatus
  index: number
  top: number
  reachable: boolean
}

export function StoreRow({ store: s, index, top, reachable }: Props) {
  const active = use(world, (w) => w.active.get(s.store))
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      data-store={s.store}
      class={active ? 'store active' : 'store'}
      style={{ transform: `translateY(${top}px)` }}
    >
      <span role="cell" class="c-name">
        <a href={href.store(s.store)} tabIndex={reachable ? 0 : -1} title={s.path}>
          {s.store}
        </a>
        {s.group && <small title="Group"> {s.group}</small>}
      </span>
      <span role="cell" class="c-engine">
        {s.engine || s.plugin || <span class="none">—</span>}
      </span>
      <span role="cell" class="c-size">
        <Bytes n={s.total_bytes} />
      </span>
      <span role="cell" class="c-reclaimable">
        {active ? (
          <>
            <ProgressBar of={s.store} progress={active.progress} />
            <em title={progressText(active.progress)}>{progressText(active.progress)}</em>
          </>
        ) : (
          <Reclaimable store={s} />
        )}
      </span>
      <span role="cell" class="c-growth">
        <Growth perDay={s.growth_bytes_per_day} />
      </span>
      <span role="cell" class="c-full">
        <Time at={s.full_at} />
      </span>
      <span role="cell" class="c-last">
        <Time at={s.last_compaction_at} none="never" />
      </span>
      <span role="cell" class="c-next">
        {s.paused_at ? (
          <span class="badge mute" title="Its schedule is paused">
            paused
          </span>
        ) : (
          <Time at={s.next_at} />
        )}
      </span>
      <span role="cell" class="c-health">
        <HealthBadge of={s} />
      </span>
    </div>
  )
}

function Reclaimable({ store: s }: { store: StoreStatus }) {
  if (s.reclaimable_bytes === undefined) return <span class="none">—</span>
  const of = s.allocated_bytes ?? s.total_bytes ?? 0
  const part = of > 0 ? s.reclaimable_bytes / of : 0
  return (
    <>
      <Bar part={part} label={`${percent(part)} of ${bytes(of)} on the disk`} />
      <em>
        <Bytes n={s.reclaimable_bytes} />
      </em>
    </>
  )
}

export function Growth({ perDay }: { perDay: number | undefined }) {
  if (perDay === undefined) return <span class="none">—</span>
  if (perDay === 0) return <>0 B/d</>
  return <span title={`${Math.round(perDay).toLocaleString('en-US')} bytes a day`}>{`${perDay > 0 ? '+' : ''}${bytes(perDay)}/d`}</span>
}
