// Results: what runs did to stores, and why.
import { bytes, count, percent, span } from './format'
import { href } from './route'
import type { Result } from './types'
import { OutcomeBadge, Reclaimed, Time } from './ui'

// Results is a table of them. On a narrow screen each is a card: the roles keep it
// a table for who reads it by ear.
export function Results({ results, named = false }: { results: readonly Result[]; named?: boolean }) {
  return (
    <div class="scroll">
      <table class="results" role="table">
        <thead role="rowgroup">
          <tr role="row">
            {named ? <th role="columnheader" scope="col">Store</th> : <th role="columnheader" scope="col">When</th>}
            <th role="columnheader" scope="col">Outcome</th>
            <th role="columnheader" scope="col">Why</th>
            <th role="columnheader" scope="col" class="num">
              Size
            </th>
            <th role="columnheader" scope="col" class="num">
              Reclaimed
            </th>
            <th role="columnheader" scope="col" class="num">
              Took
            </th>
            <th role="columnheader" scope="col" class="num">
              Pause
            </th>
            <th role="columnheader" scope="col">Mode</th>
            <th role="columnheader" scope="col">Verified</th>
          </tr>
        </thead>
        <tbody role="rowgroup">
          {results.map((r) => (
            <Row key={r.run + '/' + r.store} result={r} named={named} />
          ))}
        </tbody>
      </table>
    </div>
  )
}

function Row({ result: r, named }: { result: Result; named: boolean }) {
  const ran = r.attempts > 0
  return (
    <tr role="row">
      {named ? (
        <td role="cell" class="first">
          <a href={href.store(r.store)}>{r.store}</a>
        </td>
      ) : (
        <td role="cell" class="first" title={`run ${r.run}`}>
          <Time at={r.finished_at ?? r.started_at} />
        </td>
      )}
      <td role="cell">{r.outcome ? <OutcomeBadge outcome={r.outcome} /> : <span class="badge run">under way</span>}</td>
      <td role="cell" class="why">
        {r.reason}
        {r.error && r.error !== r.reason && <span class="error">{r.error}</span>}
        {r.hint && <span class="hint">{r.hint}</span>}
        {r.attempts > 1 && <span class="hint">{r.attempts} attempts</span>}
      </td>
      <td role="cell" class="num" data-label="size">
        {ran && r.total_bytes_before > 0 ? sizes(r) : <span class="none">—</span>}
      </td>
      <td role="cell" class="num" data-label="reclaimed">
        <Reclaimed n={r.reclaimed_bytes} predicted={r.predicted_bytes} />
      </td>
      <td role="cell" class="num" data-label="took">
        {ran ? span(r.duration_ms) : <span class="none">—</span>}
      </td>
      <td role="cell" class="num" data-label="pause" title="How long writers were held up">
        {ran ? span(r.pause_ms) : <span class="none">—</span>}
      </td>
      <td role="cell" data-label="mode">{r.mode || <span class="none">—</span>}</td>
      <td role="cell" data-label="verified">
        <Verification result={r} />
      </td>
    </tr>
  )
}

function sizes(r: Result) {
  if (r.total_bytes_after <= 0 || r.total_bytes_after === r.total_bytes_before) return bytes(r.total_bytes_before)
  const left = r.total_bytes_after / r.total_bytes_before
  return (
    <span title={`${percent(left)} of what it was`}>
      {bytes(r.total_bytes_before)} → {bytes(r.total_bytes_after)}
    </span>
  )
}

// Verification says what was compared: items and digest of before and after.
function Verification({ result: r }: { result: Result }) {
  if (!r.verified) return <span class="none">—</span>
  return (
    <span class="verified" title={`Content before and after is the same: ${count(r.items)} items, digest ${r.digest}`}>
      ✓ {count(r.items)} items <code>{r.digest.replace(/^[a-z0-9]+:/, '').slice(0, 8)}</code>
    </span>
  )
}

