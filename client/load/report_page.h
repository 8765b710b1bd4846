// The sources of the page that RenderHtml makes, from the files report_*.{html,css,js}. Of
// this folder's sources only.
#ifndef ATTND_CLIENT_LOAD_REPORT_PAGE_H_
#define ATTND_CLIENT_LOAD_REPORT_PAGE_H_

namespace attnd::load {

// Has "{{style}}", "{{plain}}", "{{report}}", "{{charts}}" and "{{script}}" in it, once each
// and in this order.
extern const char kPageHtml[];
extern const char kPageStyle[];
extern const char kPageCharts[];
extern const char kPageScript[];

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_REPORT_PAGE_H_
