import { shortcuts } from './keys'
import { Modal } from './ui'

export function Help({ version, onClose }: { version: string; onClose: () => void }) {
  return (
    <Modal title="Keyboard shortcuts" onClose={onClose}>
      <div class="shortcuts">
        {shortcuts.map((group) => (
          <section key={group.where}>
            <h3>{group.where}</h3>
            <dl>
              {group.keys.map((s) => (
                <div key={s.key}>
                  <dt>
                    {s.key.split(' ').map((k) => (
                      <kbd key={k}>{k}</kbd>
                    ))}
                  </dt>
                  <dd>{s.does}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
      <footer>
        <span class="faint">wring {version}</span>
        <button type="button" onClick={onClose}>
          Close
        </button>
      </footer>
    </Modal>
  )
}
