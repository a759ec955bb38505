package fake

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// EC2 is the service. Its exported fields may be set before it is used.
type EC2 struct {
	Now       func() time.Time
	PendingIn time.Duration // from RunInstances to running
	EndingIn  time.Duration // from TerminateInstances to terminated, and from Stop to stopped
	PageSize  int           // at most, whatever is asked for
	Limit     int           // instances that the account may have; 0: none
	Templates []string      // launch templates there are, by id and by name
	// Forgetful makes that an instance is not described so long after it was started: EC2 is consistent only in the end.
	Forgetful time.Duration

	mu        sync.Mutex
	instances []*Instance
	tokens    map[string]*launched
	refuse    []refusal
	empty     []string // subnets without capacity
	noSpot    bool
	calls     map[string]int
	next      int
	server    *httptest.Server
}

// Instance is a machine.
type Instance struct {
	ID, Subnet, Zone, Type, Address, Template string
	Spot, IMDSv2                              bool
	Launched, Stopped, Ended                  time.Time // Stopped, Ended: when it was told to; zero: it was not
	Tags                                      map[string]string
}

type launched struct {
	instance *Instance
	request  string
}

type refusal struct {
	action, code string
	times        int
}

// Start serves it on the loopback.
func (f *EC2) Start() {
	f.server = httptest.NewServer(http.HandlerFunc(f.serve))
}

// Do answers a request as the server does, without a socket and also before Start. It is an aws.HTTPClient for tests in virtual time.
func (f *EC2) Do(r *http.Request) (*http.Response, error) { return answer(f.serve, r) }

// URL is where it is reached.
func (f *EC2) URL() string { return f.server.URL }

// Close ends it.
func (f *EC2) Close() { f.server.Close() }

// Refuse answers the next calls of an action with an error code.
func (f *EC2) Refuse(action, code string, times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = append(f.refuse, refusal{action, code, times})
}

// Exhaust takes the capacity of a subnet away, or of all spot instances.
func (f *EC2) Exhaust(subnet string, spot bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.empty = append(f.empty, subnet)
	f.noSpot = f.noSpot || spot
}

// Calls is how often an action was called.
func (f *EC2) Calls(action string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[action]
}

// Instances are copies of all there ever were, in the order in which they were started.
func (f *EC2) Instances() []Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Instance
	for _, i := range f.instances {
		out = append(out, *i)
	}
	return out
}

// Add starts an instance by another way than the API.
func (f *EC2) Add(i Instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.instances = append(f.instances, &i)
}

// End terminates an instance, as a spot interruption or a person does.
func (f *EC2) End(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.instances {
		if i.ID == id && i.Ended.IsZero() {
			i.Ended = f.Now()
		}
	}
}

// Stop stops an instance, as a person does.
func (f *EC2) Stop(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.instances {
		if i.ID == id && i.Stopped.IsZero() {
			i.Stopped = f.Now()
		}
	}
}

func (f *EC2) state(i *Instance) (code int, name string) {
	now := f.Now()
	switch {
	case !i.Ended.IsZero() && now.Sub(i.Ended) >= f.EndingIn:
		return 48, "terminated"
	case !i.Ended.IsZero():
		return 32, "shutting-down"
	case !i.Stopped.IsZero() && now.Sub(i.Stopped) >= f.EndingIn:
		return 80, "stopped"
	case !i.Stopped.IsZero():
		return 64, "stopping"
	case now.Sub(i.Launched) < f.PendingIn:
		return 0, "pending"
	}
	return 16, "running"
}

// failure is an answer of EC2 that is an error.
type failure struct{ code, text string }

func (f *EC2) serve(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !strings.Contains(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256") {
		answerError(w, failure{"AuthFailure", "the request is not signed"})
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls == nil {
		f.tokens, f.calls = map[string]*launched{}, map[string]int{}
	}
	action := r.Form.Get("Action")
	f.calls[action]++
	for i := range f.refuse {
		if x := &f.refuse[i]; x.action == action && x.times > 0 {
			x.times--
			answerError(w, failure{x.code, "as the test wants it"})
			return
		}
	}
	actions := map[string]func(url.Values) (any, *failure){"RunInstances": f.run, "DescribeInstances": f.describe, "TerminateInstances": f.terminate, "CreateTags": f.createTags}
	do := actions[action]
	if do == nil {
		answerError(w, failure{"InvalidAction", action + " is not there"})
		return
	}
	out, fail := do(r.Form)
	if fail != nil {
		answerError(w, *fail)
		return
	}
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	_ = xml.NewEncoder(w).Encode(out) // a client that is gone hears nothing
}

func answerError(w http.ResponseWriter, f failure) {
	status := http.StatusBadRequest
	switch f.code {
	case "RequestLimitExceeded":
		status = http.StatusServiceUnavailable
	case "InsufficientInstanceCapacity", "InternalError":
		status = http.StatusInternalServerError
	case "UnauthorizedOperation":
		status = http.StatusForbidden
	}
	type one struct {
		Code, Message string
	}
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.WriteHeader(status)
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName   xml.Name `xml:"Response"`
		Errors    []one    `xml:"Errors>Error"`
		RequestID string
	}{Errors: []one{{f.code, f.text}}, RequestID: "r"})
}

func (f *EC2) run(form url.Values) (any, *failure) {
	template := form.Get("LaunchTemplate.LaunchTemplateId") + form.Get("LaunchTemplate.LaunchTemplateName")
	if len(f.Templates) > 0 && !slices.Contains(f.Templates, template) {
		return nil, &failure{"InvalidLaunchTemplateId.NotFound", "launch template " + template + " does not exist"}
	}
	if form.Get("MinCount") != "1" || form.Get("MaxCount") != "1" {
		return nil, &failure{"InvalidParameterValue", "one at a time here"}
	}
	token := form.Get("ClientToken")
	if len(token) > 64 {
		return nil, &failure{"InvalidParameterValue", "the client token is too long"}
	}
	request := form.Encode()
	if have := f.tokens[token]; have != nil && token != "" {
		if have.request != request {
			return nil, &failure{"IdempotentParameterMismatch", "the client token was used with other parameters"}
		}
		return f.reservation("RunInstancesResponse", have.instance), nil
	}
	spot, subnet := form.Get("InstanceMarketOptions.MarketType") == "spot", form.Get("SubnetId")
	if slices.Contains(f.empty, subnet) || spot && f.noSpot {
		return nil, &failure{"InsufficientInstanceCapacity", "we currently do not have sufficient capacity"}
	}
	live := 0
	for _, i := range f.instances {
		if _, state := f.state(i); state == "pending" || state == "running" {
			live++
		}
	}
	if f.Limit > 0 && live >= f.Limit {
		return nil, &failure{"VcpuLimitExceeded", "you have requested more vCPU capacity than your current limit"}
	}
	f.next++
	i := &Instance{ID: fmt.Sprintf("i-%017x", 0x0a1b2c3d00000000+f.next*7919%(1<<31)), Subnet: subnet, Zone: "eu-west-1" + zoneOf(subnet), Type: form.Get("InstanceType"),
		Spot: spot, IMDSv2: form.Get("MetadataOptions.HttpTokens") == "required", Launched: f.Now(), Template: template,
		Address: fmt.Sprintf("10.0.%d.%d", f.next/250, f.next%250+1), Tags: map[string]string{}}
	for n := 1; form.Has(fmt.Sprintf("TagSpecification.%d.ResourceType", n)); n++ {
		at := fmt.Sprintf("TagSpecification.%d", n)
		if form.Get(at+".ResourceType") != "instance" {
			continue
		}
		readTags(form, at, i.Tags)
	}
	f.instances = append(f.instances, i)
	f.tokens[token] = &launched{i, request}
	return f.reservation("RunInstancesResponse", i), nil
}

func zoneOf(subnet string) string {
	if subnet == "" {
		return "a"
	}
	return subnet[len(subnet)-1:]
}

func readTags(form url.Values, at string, into map[string]string) {
	for m := 1; form.Has(fmt.Sprintf("%s.Tag.%d.Key", at, m)); m++ {
		into[form.Get(fmt.Sprintf("%s.Tag.%d.Key", at, m))] = form.Get(fmt.Sprintf("%s.Tag.%d.Value", at, m))
	}
}

func (f *EC2) describe(form url.Values) (any, *failure) {
	size := f.PageSize
	if n, err := strconv.Atoi(form.Get("MaxResults")); err == nil {
		if n < 5 || n > 1000 {
			return nil, &failure{"InvalidParameterValue", "MaxResults is 5 to 1000"}
		}
		if size == 0 || n < size {
			size = n
		}
	}
	var match []*Instance
	for _, i := range f.instances {
		_, state := f.state(i)
		long := state == "terminated" && f.Now().Sub(i.Ended) > time.Hour
		if f.matches(form, i, state) && !long && f.Now().Sub(i.Launched) >= f.Forgetful {
			match = append(match, i)
		}
	}
	from := 0
	if token := form.Get("NextToken"); token != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(token, "page-"))
		if err != nil || n > len(match) {
			return nil, &failure{"InvalidNextToken", "the token is not valid"}
		}
		from = n
	}
	to := len(match)
	if size > 0 {
		to = min(to, from+size)
	}
	out := describeResponse{XMLName: xml.Name{Local: "DescribeInstancesResponse"}}
	for _, i := range match[from:to] {
		out.Reservations = append(out.Reservations, *f.reservation("item", i))
	}
	if to < len(match) {
		out.NextToken = fmt.Sprintf("page-%d", to)
	}
	return out, nil
}

func (f *EC2) matches(form url.Values, i *Instance, state string) bool {
	for n := 1; form.Has(fmt.Sprintf("Filter.%d.Name", n)); n++ {
		name := form.Get(fmt.Sprintf("Filter.%d.Name", n))
		var values []string
		for m := 1; form.Has(fmt.Sprintf("Filter.%d.Value.%d", n, m)); m++ {
			values = append(values, form.Get(fmt.Sprintf("Filter.%d.Value.%d", n, m)))
		}
		have := state
		if key, ok := strings.CutPrefix(name, "tag:"); ok {
			have, ok = i.Tags[key]
			if !ok {
				return false
			}
		} else if name != "instance-state-name" {
			return false
		}
		if !slices.Contains(values, have) {
			return false
		}
	}
	return true
}

func (f *EC2) terminate(form url.Values) (any, *failure) {
	var list []*Instance
	for n := 1; form.Has(fmt.Sprintf("InstanceId.%d", n)); n++ {
		id := form.Get(fmt.Sprintf("InstanceId.%d", n))
		k := slices.IndexFunc(f.instances, func(i *Instance) bool { return i.ID == id })
		if k < 0 {
			return nil, &failure{"InvalidInstanceID.NotFound", "the instance ID '" + id + "' does not exist"}
		}
		list = append(list, f.instances[k])
	}
	for _, i := range list {
		if i.Ended.IsZero() {
			i.Ended = f.Now()
		}
	}
	return struct {
		XMLName xml.Name `xml:"TerminateInstancesResponse"`
	}{}, nil
}

func (f *EC2) createTags(form url.Values) (any, *failure) {
	for n := 1; form.Has(fmt.Sprintf("ResourceId.%d", n)); n++ {
		for _, i := range f.instances {
			if i.ID == form.Get(fmt.Sprintf("ResourceId.%d", n)) {
				for m := 1; form.Has(fmt.Sprintf("Tag.%d.Key", m)); m++ {
					i.Tags[form.Get(fmt.Sprintf("Tag.%d.Key", m))] = form.Get(fmt.Sprintf("Tag.%d.Value", m))
				}
			}
		}
	}
	return struct {
		XMLName xml.Name `xml:"CreateTagsResponse"`
		Return  bool     `xml:"return"`
	}{Return: true}, nil
}

// The answers as EC2 writes them.
type describeResponse struct {
	XMLName      xml.Name
	Reservations []reservation `xml:"reservationSet>item"`
	NextToken    string        `xml:"nextToken,omitempty"`
}

type reservation struct {
	XMLName   xml.Name
	ID        string `xml:"reservationId"`
	Instances []item `xml:"instancesSet>item"`
}

type item struct {
	ID        string `xml:"instanceId"`
	Code      int    `xml:"instanceState>code"`
	State     string `xml:"instanceState>name"`
	Address   string `xml:"privateIpAddress,omitempty"`
	Launched  string `xml:"launchTime"`
	Zone      string `xml:"placement>availabilityZone"`
	Lifecycle string `xml:"instanceLifecycle,omitempty"`
	Tags      []tag  `xml:"tagSet>item"`
}

type tag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

func (f *EC2) reservation(name string, i *Instance) *reservation {
	code, state := f.state(i)
	x := item{ID: i.ID, Code: code, State: state, Address: i.Address, Launched: i.Launched.UTC().Format("2006-01-02T15:04:05.000Z"), Zone: i.Zone}
	if i.Spot {
		x.Lifecycle = "spot"
	}
	var keys []string
	for key := range i.Tags {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		x.Tags = append(x.Tags, tag{key, i.Tags[key]})
	}
	return &reservation{XMLName: xml.Name{Local: name}, ID: "r-" + strings.TrimPrefix(i.ID, "i-"), Instances: []item{x}}
}
