"""A browser without JavaScript, as far as our pages need one: it keeps cookies, follows what stays
with the provider, and fills in the forms it is given."""

import html.parser
import urllib.parse

import requests


class _Forms(html.parser.HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.forms, self.heading, self._in_heading = [], "", False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form":
            self.forms.append((attrs.get("action"), {}))
        elif tag == "input" and self.forms and attrs.get("name"):
            self.forms[-1][1][attrs["name"]] = attrs.get("value") or ""
        self._in_heading = tag == "h1"

    def handle_data(self, data):
        self.heading += data if self._in_heading else ""

    def handle_endtag(self, tag):
        self._in_heading = False


class Browser:
    def __init__(self, issuer):
        self.issuer, self.cookies = issuer, {}

    def open(self, url):
        """Returns where it leads when that is not the provider's, else nothing."""
        return self._send("GET", url)

    def submit(self, **fields):
        """Fills in the form that has all of these fields. Returns as `open` does."""
        for action, known in self.page.forms:
            if fields.keys() <= known.keys():
                url = urllib.parse.urljoin(self.url, action or self.url)
                return self._send("POST", url, {**known, **fields})
        raise AssertionError(f"no form with {fields.keys()} on “{self.page.heading}”")

    def _send(self, method, url, form=None):
        for _ in range(10):
            origin = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(self.issuer))
            headers = {
                "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
                "Origin": origin,
            }
            answer = requests.request(
                method, url, data=form, headers=headers, allow_redirects=False, timeout=20
            )
            for cookie in answer.raw.headers.getlist("Set-Cookie"):
                name, _, value = cookie.split(";", 1)[0].partition("=")
                self.cookies[name] = value
            location = answer.headers.get("Location")
            if location is None:
                self.url, self.html, self.page = url, answer.text, _Forms(answer.text)
                return None
            url = urllib.parse.urljoin(url, location)
            if not url.startswith(f"{self.issuer}/"):
                return url
            method, form = "GET", None
        raise AssertionError(f"no end of redirects at {url}")
