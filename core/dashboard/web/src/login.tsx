// The page for who has not said who he is.
import { useEffect, useRef, useState } from 'preact/hooks'
import { api, Problem } from './api'
import { begin } from './live'
import type { Session } from './types'

export function Login({ session }: { session: Session }) {
  const [token, setToken] = useState('')
  const [error, setError] = useState('')
  const [busy, setBusy] = useState(false)
  const field = useRef<HTMLInputElement>(null)
  useEffect(() => field.current?.focus(), []) // autofocus counts once for each load of the page

  const submit = async () => {
    setBusy(true)
    setError('')
    try {
      await api.login(token.trim())
      await begin()
    } catch (e) {
      setError(reason(e))
    }
    setBusy(false)
  }

  if (session.authentication !== 'token') {
    return (
      <main class="login">
        <h1>wring</h1>
        <p>This host lets in only who shows a client certificate that it trusts. Give the browser yours, and load the page again.</p>
      </main>
    )
  }
  return (
    <main class="login">
      <h1>wring</h1>
      <form
        onSubmit={(e) => {
          e.preventDefault()
          void submit()
        }}
      >
        <label for="token">Token</label>
        <input
          ref={field}
          id="token"
          type="password"
          autocomplete="current-password"
          spellcheck={false}
          required
          value={token}
          aria-describedby="token-help"
          aria-invalid={error !== ''}
          onInput={(e) => setToken(e.currentTarget.value)}
        />
        <p id="token-help" class="faint">
          Made on the host: <code>wring token create --scope operate</code>
        </p>
        <p class="fault" role="alert">
          {error}
        </p>
        <button type="submit" class="primary" disabled={busy}>
          Log in
        </button>
      </form>
    </main>
  )
}

function reason(e: unknown): string {
  if (!(e instanceof Problem)) return String(e)
  switch (e.status) {
    case 401:
    case 403:
      return 'The host does not know this token.'
    case 429:
      return 'Too many attempts. Wait a little, then try again.'
  }
  return e.message
}
