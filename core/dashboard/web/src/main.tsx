import { render } from 'preact'
import 'uplot/dist/uPlot.min.css'
import './style/base.css'
import './style/pages.css'
import { App } from './app'
import { begin } from './live'
import { followTheme } from './theme'

followTheme()
void begin()
render(<App />, document.getElementById('app')!)
