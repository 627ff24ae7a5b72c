"use strict";(self.rspackChunkdataflow_jupyterlab=self.rspackChunkdataflow_jupyterlab||[]).push([["style_index_js"],{"./node_modules/css-loader/dist/cjs.js!./style/index.css"(e,o,r){var t=r("./node_modules/css-loader/dist/runtime/noSourceMaps.js"),i=r.n(t),n=r("./node_modules/css-loader/dist/runtime/api.js"),a=(r.n(n))()(i());a.push([e.id,`/* The panel */
.df-Panel { overflow-y: auto; padding: 8px 10px 24px; min-width: 260px !important; background: var(--jp-layout-color1); color: var(--jp-ui-font-color1); font-size: var(--jp-ui-font-size1); line-height: 1.4; overflow-wrap: anywhere }
.df-Panel h2 { font-size: var(--jp-ui-font-size2); margin: 4px 0 0 }
.df-Panel h3 { font-size: var(--jp-ui-font-size1); font-weight: 600; margin: 14px 0 4px }
.df-Panel summary { cursor: pointer; margin: 4px 0 }
.df-Panel p { margin: 4px 0 }
.df-Panel :focus-visible { outline: 2px solid var(--jp-brand-color1); outline-offset: 1px }
.df-Panel button svg { width: 14px; vertical-align: -3px }
.df-Panel .jp-mod-accept .jp-icon3[fill] { fill: var(--jp-ui-inverse-font-color1) }
.df-Plain { list-style: none; margin: 0; padding: 0 }
.df-Soft, .df-Facts { color: var(--jp-ui-font-color2) }
.df-Error { color: var(--jp-error-color0) } .df-Warning { color: var(--jp-warn-color0) }
.df-Link { border: 0; background: none; padding: 0; color: var(--jp-content-link-color); font: inherit; text-align: left; cursor: pointer }
.df-Panel a.df-Link { color: var(--jp-content-link-color) }
.df-Link:hover { text-decoration: underline }
.df-Link:disabled { color: inherit; cursor: default; text-decoration: none }
.df-Badge { padding: 0 5px; border-radius: 6px; background: var(--jp-layout-color3); font-size: var(--jp-ui-font-size0); font-weight: 400 }
.df-Sign { display: inline-block; width: 1.2em; text-align: center }
.df-is-succeeded .df-Sign, .df-is-skipped .df-Sign { color: var(--jp-success-color0) }
.df-is-failed .df-Sign, .df-is-killed .df-Sign, .df-is-rejected .df-Sign { color: var(--jp-error-color0) }
.df-is-cancelled .df-Sign, .df-is-retrying .df-Sign, .df-is-awaiting-review .df-Sign { color: var(--jp-warn-color0) }
.df-is-running .df-Sign { color: var(--jp-info-color0) }

/* Steps */
.df-Graph { list-style: none; margin: 0; padding: 0 }
.df-Graph li { display: flex; gap: 6px; position: relative; padding-bottom: 8px }
.df-Graph li:not(:last-child)::after { content: ''; position: absolute; left: 16px; bottom: 0; height: 8px; border-left: 2px solid var(--jp-border-color1) }
.df-Step { flex: 1; min-width: 0; display: flex; flex-wrap: wrap; gap: 0 6px; align-items: baseline; padding: 3px 8px 3px 4px; border: 1px solid var(--jp-border-color1); border-radius: 4px }
.df-Step.df-mod-here { background: var(--jp-layout-color2) } .df-mod-here .df-Name { font-weight: 600 }
.df-Step.df-is-failed, .df-Step.df-is-killed { border-color: var(--jp-error-color1) }
.df-Step .df-Facts { margin-left: auto; font-size: var(--jp-ui-font-size0) }

/* The form */
.df-Form { display: flex; flex-direction: column; gap: 10px; padding-bottom: 8px; border-bottom: 1px solid var(--jp-border-color2) }
.df-Field { display: flex; flex-direction: column; gap: 2px }
.df-Field label { font-weight: 600 }
.df-Field code { font-weight: 400; color: var(--jp-ui-font-color2); font-size: var(--jp-ui-font-size0) }
.df-Field small { font-size: var(--jp-ui-font-size0) }
.df-Row { display: flex; gap: 6px } .df-Row > :first-child { flex: 1; min-width: 0; box-sizing: border-box }
.df-Panel .df-Row .jp-mod-styled { height: auto; min-height: 26px; padding: 2px 6px; font: inherit; line-height: 20px }
.df-Row [aria-invalid] { border-color: var(--jp-error-color1) }
.df-Row [aria-pressed='true'] { font-weight: 600; text-decoration: underline }
.df-Scope { border: 0; margin: 0; padding: 0; display: flex; flex-direction: column } .df-Scope legend { padding: 0; font-weight: 600 }
.df-Form > button { align-self: flex-start }

/* Runs */
.df-Runs { list-style: none; margin: 0; padding: 0 }
.df-Run { display: flex; gap: 4px; padding: 5px 0; border-top: 1px solid var(--jp-border-color2) }
.df-Run > div { flex: 1; min-width: 0 }
.df-Values { font-family: var(--jp-code-font-family); font-size: var(--jp-ui-font-size0) }
.df-Actions { display: flex; gap: 2px 12px; flex-wrap: wrap; font-size: var(--jp-ui-font-size0) }

/* Executed notebooks */
.df-Executed .jp-Notebook { background: var(--jp-layout-color2); border-top: 3px solid var(--jp-info-color1) }
.df-Executed .jp-NotebookPanel-toolbar { display: none }

/* Problems */
.df-Problem { display: flex; gap: 4px; padding: 3px 0 }
.df-Problem > div { flex: 1; min-width: 0 }
.df-Panel .df-Fix { height: auto; min-height: 24px; margin: 2px 0; padding: 0 8px; line-height: 20px; white-space: normal }
.df-Note { margin: 2px 0 2px calc(var(--jp-cell-prompt-width) + var(--jp-cell-padding) + 4px); font-family: var(--jp-ui-font-family); font-size: var(--jp-ui-font-size1); line-height: 1.4; overflow-wrap: anywhere }
.df-mod-parameters .df-Note { padding-right: 90px } /* beside the badge */
.df-Note :focus-visible { outline: 2px solid var(--jp-brand-color1); outline-offset: 1px }
.jp-Notebook .cm-tooltip-lint { max-width: 46em; white-space: pre-wrap }

/* New workflows and stages, settings */
.df-Whole { display: contents; border: 0 }
.df-Ends { display: flex; gap: 8px; flex-wrap: wrap }
.df-Panel .df-Ends .jp-mod-styled { height: auto; min-height: 28px; line-height: 20px }
.df-Diff { margin: 0; padding: 4px 6px; max-height: 14em; overflow: auto; white-space: pre; overflow-wrap: normal; background: var(--jp-layout-color2); font-family: var(--jp-code-font-family); font-size: var(--jp-ui-font-size0) }
.df-Diff > div { min-width: max-content }
.df-Diff .df-mod-new { background: color-mix(in srgb, var(--jp-success-color1) 22%, transparent) }
.df-Diff .df-mod-old { background: color-mix(in srgb, var(--jp-error-color1) 22%, transparent) }
.df-When { display: flex; gap: 6px; flex-wrap: wrap; margin: 3px 0 }
.df-When > * { flex: 1 1 90px; min-width: 0; box-sizing: border-box }
.df-Panel .df-When .jp-mod-styled { height: auto; min-height: 26px; padding: 2px 6px; font: inherit; line-height: 20px }
.df-Panel .df-When .df-Cron { font-family: var(--jp-code-font-family) }
.df-When [aria-invalid] { border-color: var(--jp-error-color1) }
.df-Panel select.jp-mod-styled { appearance: auto }
.df-Panel button.jp-mod-styled:disabled { opacity: 0.5; cursor: default }
.df-Item { display: flex; gap: 8px; justify-content: space-between }
.df-Scope label { display: flex; align-items: baseline; gap: 4px }
.df-Inner { padding-left: 18px }

/* The cell with the parameters */
.jp-Cell.df-mod-parameters > .jp-Cell-inputWrapper { position: relative }
.jp-Cell.df-mod-parameters > .jp-Cell-inputWrapper::after { content: 'parameters'; position: absolute; right: 8px; bottom: -9px; z-index: 1; padding: 0 6px; border-radius: 6px; background: var(--jp-layout-color3); color: var(--jp-ui-font-color1); font-size: var(--jp-ui-font-size0); line-height: 1.5; pointer-events: none }

/* Pages beside a notebook */
.df-Page { display: flex; flex-direction: column; background: var(--jp-layout-color1); color: var(--jp-ui-font-color1); font-size: var(--jp-ui-font-size1) }
.df-Page iframe { flex: 1; width: 100%; border: 0 } .df-Page .df-is-old { opacity: .5 }
.lm-mod-override-cursor .df-Page iframe { pointer-events: none }
.df-PageBar { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: center; padding: 4px 10px; border-bottom: 1px solid var(--jp-border-color2) }
.df-PageBar select.jp-mod-styled { width: auto; max-width: 100%; height: 24px; padding: 0 4px; font: inherit } .df-PageBar input { vertical-align: -2px }
.df-Page :focus-visible { outline: 2px solid var(--jp-brand-color1); outline-offset: 1px }
.df-PageError { margin: 8px 10px }
.df-Question { flex-basis: 100%; font-size: var(--jp-ui-font-size1); padding: 4px 8px; border: 1px solid var(--jp-warn-color1); border-radius: 4px }
.df-Question .df-Actions { font-size: inherit }

/* The run that goes on */
.df-Progress { display: flex; flex-direction: column; gap: 4px }
.df-Progress > .df-Row { align-items: baseline } .df-Progress > .df-Row > :nth-child(2) { flex: 1 }
.df-Progress > .df-Row > :first-child { flex: none }
.df-Progress .jp-mod-styled { height: 24px; min-height: 0; line-height: 22px; padding: 0 10px }
.df-is-did-not-run .df-Sign { color: var(--jp-error-color0) } .df-is-waiting .df-Sign { color: var(--jp-info-color0) }
.df-Printed { margin: 2px 0; max-height: 16em; overflow: auto; resize: vertical; padding: 4px 6px; background: var(--jp-layout-color2); border: 1px solid var(--jp-border-color2); font-family: var(--jp-code-font-family); font-size: var(--jp-ui-font-size0); line-height: 1.45; white-space: pre-wrap; color: var(--jp-content-font-color1) }
`,""]),r.d(o,{},{A:a})},"./node_modules/css-loader/dist/runtime/api.js"(e){e.exports=function(e){var o=[];return o.toString=function(){return this.map(function(o){var r="",t=void 0!==o[5];return o[4]&&(r+="@supports (".concat(o[4],") {")),o[2]&&(r+="@media ".concat(o[2]," {")),t&&(r+="@layer".concat(o[5].length>0?" ".concat(o[5]):""," {")),r+=e(o),t&&(r+="}"),o[2]&&(r+="}"),o[4]&&(r+="}"),r}).join("")},o.i=function(e,r,t,i,n){"string"==typeof e&&(e=[[null,e,void 0]]);var a={};if(t)for(var d=0;d<this.length;d++){var l=this[d][0];null!=l&&(a[l]=!0)}for(var s=0;s<e.length;s++){var p=[].concat(e[s]);t&&a[p[0]]||(void 0!==n&&(void 0===p[5]||(p[1]="@layer".concat(p[5].length>0?" ".concat(p[5]):""," {").concat(p[1],"}")),p[5]=n),r&&(p[2]&&(p[1]="@media ".concat(p[2]," {").concat(p[1],"}")),p[2]=r),i&&(p[4]?(p[1]="@supports (".concat(p[4],") {").concat(p[1],"}"),p[4]=i):p[4]="".concat(i)),o.push(p))}},o}},"./node_modules/css-loader/dist/runtime/noSourceMaps.js"(e){e.exports=function(e){return e[1]}},"./node_modules/style-loader/dist/runtime/injectStylesIntoStyleTag.js"(e){var o=[];function r(e){for(var r=-1,t=0;t<o.length;t++)if(o[t].identifier===e){r=t;break}return r}function t(e,t){for(var i={},n=[],a=0;a<e.length;a++){var d=e[a],l=t.base?d[0]+t.base:d[0],s=i[l]||0,p="".concat(l," ").concat(s);i[l]=s+1;var f=r(p),c={css:d[1],media:d[2],sourceMap:d[3],supports:d[4],layer:d[5]};if(-1!==f)o[f].references++,o[f].updater(c);else{var u=function(e,o){var r=o.domAPI(o);return r.update(e),function(o){o?(o.css!==e.css||o.media!==e.media||o.sourceMap!==e.sourceMap||o.supports!==e.supports||o.layer!==e.layer)&&r.update(e=o):r.remove()}}(c,t);t.byIndex=a,o.splice(a,0,{identifier:p,updater:u,references:1})}n.push(p)}return n}e.exports=function(e,i){var n=t(e=e||[],i=i||{});return function(e){e=e||[];for(var a=0;a<n.length;a++){var d=r(n[a]);o[d].references--}for(var l=t(e,i),s=0;s<n.length;s++){var p=r(n[s]);0===o[p].references&&(o[p].updater(),o.splice(p,1))}n=l}}},"./node_modules/style-loader/dist/runtime/insertBySelector.js"(e){var o={};e.exports=function(e,r){var t=function(e){if(void 0===o[e]){var r=document.querySelector(e);if(window.HTMLIFrameElement&&r instanceof window.HTMLIFrameElement)try{r=r.contentDocument.head}catch(e){r=null}o[e]=r}return o[e]}(e);if(!t)throw Error("Couldn't find a style target. This probably means that the value for the 'insert' parameter is invalid.");t.appendChild(r)}},"./node_modules/style-loader/dist/runtime/insertStyleElement.js"(e){e.exports=function(e){var o=document.createElement("style");return e.setAttributes(o,e.attributes),e.insert(o,e.options),o}},"./node_modules/style-loader/dist/runtime/setAttributesWithoutAttributes.js"(e,o,r){e.exports=function(e){var o=r.nc;o&&e.setAttribute("nonce",o)}},"./node_modules/style-loader/dist/runtime/styleDomAPI.js"(e){e.exports=function(e){if("u"<typeof document)return{update:function(){},remove:function(){}};var o=e.insertStyleElement(e);return{update:function(r){var t,i,n;t="",r.supports&&(t+="@supports (".concat(r.supports,") {")),r.media&&(t+="@media ".concat(r.media," {")),(i=void 0!==r.layer)&&(t+="@layer".concat(r.layer.length>0?" ".concat(r.layer):""," {")),t+=r.css,i&&(t+="}"),r.media&&(t+="}"),r.supports&&(t+="}"),(n=r.sourceMap)&&"u">typeof btoa&&(t+="\n/*# sourceMappingURL=data:application/json;base64,".concat(btoa(unescape(encodeURIComponent(JSON.stringify(n))))," */")),e.styleTagTransform(t,o,e.options)},remove:function(){var e;null===(e=o).parentNode||e.parentNode.removeChild(e)}}}},"./node_modules/style-loader/dist/runtime/styleTagTransform.js"(e){e.exports=function(e,o){if(o.styleSheet)o.styleSheet.cssText=e;else{for(;o.firstChild;)o.removeChild(o.firstChild);o.appendChild(document.createTextNode(e))}}},"./style/index.js"(e,o,r){var t=r("./node_modules/style-loader/dist/runtime/injectStylesIntoStyleTag.js"),i=r.n(t),n=r("./node_modules/style-loader/dist/runtime/styleDomAPI.js"),a=r.n(n),d=r("./node_modules/style-loader/dist/runtime/insertBySelector.js"),l=r.n(d),s=r("./node_modules/style-loader/dist/runtime/setAttributesWithoutAttributes.js"),p=r.n(s),f=r("./node_modules/style-loader/dist/runtime/insertStyleElement.js"),c=r.n(f),u=r("./node_modules/style-loader/dist/runtime/styleTagTransform.js"),m=r.n(u),g=r("./node_modules/css-loader/dist/cjs.js!./style/index.css"),x={};x.styleTagTransform=m(),x.setAttributes=p(),x.insert=l().bind(null,"head"),x.domAPI=a(),x.insertStyleElement=c(),i()(g.A,x),g.A&&g.A.locals&&g.A.locals}}]);